import sys

sys.path.insert(0, ".")
import torch, numpy as np
from pathlib import Path
from PIL import Image
from lenet5.networks.finder import Finder
from lenet5.imaging.opening import upright_picture
from lenet5.imaging.preprocess import mnist_like
from lenet5.imaging.centring import centre_digit, bounding_box
from lenet5.imaging.inputs import to_input
from lenet5.networks.weights import load_weights

torch.set_num_threads(1)
ck = sys.argv[1]
widths = eval(sys.argv[3]) if len(sys.argv) > 3 else (12, 20, 28, 36)
net = Finder(widths)
net.load_state_dict(torch.load(ck))
net.eval()
le, meta = load_weights(sys.argv[2] if len(sys.argv) > 2 and sys.argv[2] else "pretrained/lenet5.pth")
le.eval()
SIDE = 96


def fit(size, side=SIDE):
    k = side / max(size)
    return tuple(max(16, round(s * k / 16) * 16) for s in size)


@torch.inference_mode()
def mask(im, side=SIDE):
    w, h = fit(im.size, side)
    f = Image.Resampling.BOX if max(im.size) > 2 * side else Image.Resampling.BILINEAR
    im2 = im.resize((w, h), Image.Resampling.BILINEAR, reducing_gap=2.0)
    x = torch.from_numpy(np.array(im2)).permute(2, 0, 1)[None].float() / 255
    return net(x)[0, 0].sigmoid().numpy()


def biggest(m):
    return m


def look(im):
    m = mask(im)
    W, H = im.size
    near = im
    for _ in range(2):
        b = bounding_box(np.where(m > 0.5, m, 0).astype(np.float32))
        if b is None:
            break
        l, t, r, bt = [v * s for v, s in zip(b, (near.width / m.shape[1], near.height / m.shape[0]) * 2)]
        if max((r - l) / near.width, (bt - t) / near.height) > 0.5:
            break
        mg = max(r - l, bt - t) * 0.5
        box = (
            max(0, int(l - mg)),
            max(0, int(t - mg)),
            min(near.width, int(r + mg + 1)),
            min(near.height, int(bt + mg + 1)),
        )
        near = near.crop(box)
        m = mask(near)
    # true aspect ratio
    k = max(m.shape) / max(near.size)
    true = (max(1, round(near.width * k)), max(1, round(near.height * k)))
    a = np.asarray(Image.fromarray(m.astype(np.float32)).resize(true, Image.Resampling.BILINEAR))
    return near, a * 255 * (a > 0.2)


if __name__ == "__main__":
    bad = {}
    for s in sorted(Path("/work/shared/real/choose").iterdir()):
        D, R, L, P = [], [], [], []
        for p in sorted(s.rglob("*")):
            if not p.is_file():
                continue
            im = upright_picture(str(p)).convert("RGB")
            near, a = look(im)
            D.append(centre_digit(a))
            L.append(int(p.parent.name))
            P.append((p, near, a))
            if len(sys.argv) > 4:
                R.append(mnist_like(str(p)))
        L = np.array(L)
        with torch.inference_mode():
            x = to_input(torch.from_numpy(np.stack(D)), le.mean, le.std)
            y = le(x).argmax(1).numpy()
            o = ""
            if R:
                o = f"{(le(to_input(torch.from_numpy(np.stack(R)), le.mean, le.std)).argmax(1).numpy() == L).mean() * 100:.1f}"
        print(f"{s.name:22} {len(L):5} {(y == L).mean() * 100:5.1f}", o, flush=True)
        w = np.flatnonzero(y != L)[:48]
        rows = []
        for i in w:
            p, near, a = P[i]
            c = Image.new("RGB", (80 * 4, 80))
            for j, im in enumerate(
                (
                    Image.open(p).convert("RGB"),
                    near,
                    Image.fromarray(a.clip(0, 255).astype(np.uint8)),
                    Image.fromarray(D[i]),
                )
            ):
                im = im.convert("RGB")
                k = 78 / max(im.size)
                c.paste(im.resize((max(1, int(im.width * k)), max(1, int(im.height * k)))), (j * 80, 0))
            from PIL import ImageDraw

            ImageDraw.Draw(c).text((242, 2), f"{L[i]}>{y[i]}", fill="yellow")
            rows.append(c)
        if rows:
            S = Image.new("RGB", (320 * 4, 80 * ((len(rows) + 3) // 4)))
            for i, c in enumerate(rows):
                S.paste(c, (320 * (i % 4), 80 * (i // 4)))
            S.save(f"/tmp/w/bad_{s.name}.png")
