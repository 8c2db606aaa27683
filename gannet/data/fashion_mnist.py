"""Fashion-MNIST: MNIST's four files with articles of clothing in them."""

from __future__ import annotations

from gannet.core.registry import SOURCES
from gannet.data.mnist import IdxSource

# The authors' own server answers on plain HTTP only; the hashes are what vouches for the files.
MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
_CLOTHES = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"


@SOURCES.register("fashion-mnist")
class FashionMnist(IdxSource):
    """Articles of clothing, 28×28 grey, ten classes, 60,000 + 10,000 (Xiao, Rasul, Vollgraf, 2017; MIT).

    Read from `$GANNET_DATA/fashion-mnist/`, else downloaded with a pinned SHA-256. The order is the files' own. `size`
    pads with background to size × size and does not resample. Raises `DataError` naming the file that is missing or
    damaged.
    """

    folder, mirror, sha256 = "fashion-mnist", MIRROR, SHA256
    names = tuple(_CLOTHES.split(", "))
