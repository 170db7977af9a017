"""Where images, labels and saliency maps come from: streamed in input order, never all in memory."""

from c2i_fast.data.images import open_images
from c2i_fast.data.map_source import MapSource
from c2i_fast.data.maps import check_ids, open_maps
from c2i_fast.data.resize import bilinear_axis, resize_map
from c2i_fast.data.source import Image, ImageSource, Skipped

__all__ = [
    "Image",
    "ImageSource",
    "MapSource",
    "Skipped",
    "bilinear_axis",
    "check_ids",
    "open_images",
    "open_maps",
    "resize_map",
]
