"""Download one file over HTTP, with a limit of size and time."""

from lenet5.runtime.errors import UserError, one_line, reason


def download(url: str, limit: int, timeout: float = 15.0) -> bytes:
    """What `url` answers: at most `limit` bytes, `timeout` seconds without a byte.

    Raises UserError with the reason, in words, of whatever went wrong.
    """
    # Most scripts fetch nothing, and these take a while to import.
    import http.client
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(url, headers={"User-Agent": "lenet5"})
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            data = answer.read(limit + 1)
    except urllib.error.HTTPError as error:
        raise UserError(f"HTTP {error.code} {one_line(error.reason)}") from error
    except urllib.error.URLError as error:
        cause = error.reason
        raise UserError(reason(cause) if isinstance(cause, OSError) else str(cause)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(reason(error)) from error
    if len(data) > limit:
        raise UserError(f"the answer is larger than the {limit:,} bytes expected")
    return data
