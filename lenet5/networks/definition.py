"""The networks of model.py, for the package: no other module of it imports model.

In a checkout it stands beside the package, in an installed one inside it.
"""

from importlib.util import find_spec

if find_spec("lenet5.model"):
    from lenet5.model import *  # noqa: F403
else:
    from model import *  # noqa: F403
