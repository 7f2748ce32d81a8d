"""A first convolution that whitens patches of the training images, and does not learn."""

import torch
from torch import Tensor, nn

IMAGES = 5000
"""Training images whose patches are measured."""
FLOOR = 5e-4
"""Added to each second moment, so that patches without contrast stay small."""


class Whitening(nn.Sequential):
    """A k×k convolution without padding to 2 C k² channels, whose weights do not learn, and a ReLU.

    `whiten_` sets its weights to the eigenvectors v of the second moments of the patches, divided
    by sqrt(moment + FLOOR), and to their negatives: channels whose products are 0 in the mean and
    whose squares are 1, of which a ReLU keeps both signs. Of images of mean 0, these are covariance
    and variance. The biases learn. (Page 2019, "How to train your ResNet 8: Bag of
    tricks"; Jordan 2024, arXiv 2404.00498.)
    """

    def __init__(self, channels: int, window: int = 2):
        super().__init__()
        self.channels = 2 * channels * window**2
        self.conv = nn.Conv2d(channels, self.channels, window)
        self.conv.weight.requires_grad_(False)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        self.relu = nn.ReLU()

    @torch.no_grad()
    def whiten_(self, images: Tensor) -> None:
        """Set the weights from images [N, C, H, W]."""
        self.conv.weight.copy_(patch_filters(images, self.conv.kernel_size[0]))


def patch_filters(images: Tensor, window: int) -> Tensor:
    """Return the whitening filters [2 C k², C, k, k] of the k×k patches of images [N, C, H, W].

    The filter of the largest second moment comes first. Its entry of the largest magnitude is
    positive, so that the filters do not depend on the signs that an eigensolver happens to choose.
    """
    channels = images.shape[1]
    patches = images.double().unfold(2, window, 1).unfold(3, window, 1)  # [N, C, h, w, k, k]
    rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * window**2)
    moments, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))  # columns, ascending
    filters = (vectors / (moments + FLOOR).sqrt()).T.flip(0)
    largest = filters.gather(1, filters.abs().argmax(1, keepdim=True))
    filters = filters * largest.sign()
    return torch.cat([filters, -filters]).view(-1, channels, window, window).float()
