"""Decoding: every kind of file ends as float32 RGB (or grey) in [0, 1], or as an error with its name."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from c2i_fast.data.pictures import MAX_PIXELS, decode
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing

AS_STORED = Preprocessing()
RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
GREY = RGB[..., 0]


def decoded(tmp_path, image, suffix="png", channels=3, preprocessing=AS_STORED, **options):
    path = tmp_path / f"x.{suffix}"
    image.save(path, **options)
    return decode(path, preprocessing, channels)


def test_rgb_is_value_over_255(tmp_path):
    pixels = decoded(tmp_path, Image.fromarray(RGB))
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, (RGB / 255).astype(np.float32).transpose(2, 0, 1))


ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decoded(tmp_path, Image.fromarray(RGB), exif=exif)
    upright = ORIENTATIONS[orientation](RGB)
    np.testing.assert_array_equal(np.rint(pixels * 255).transpose(1, 2, 0), upright)


def test_grey_is_repeated_for_three_channels_and_kept_for_one(tmp_path):
    expected = (GREY / 255).astype(np.float32)
    np.testing.assert_array_equal(decoded(tmp_path, Image.fromarray(GREY)), np.stack([expected] * 3))
    np.testing.assert_array_equal(decoded(tmp_path, Image.fromarray(GREY), channels=1), expected[None])


def test_colour_becomes_luma_for_one_channel(tmp_path):
    pixels = decoded(tmp_path, Image.fromarray(RGB), channels=1)
    luma = RGB @ np.array([0.299, 0.587, 0.114]) / 255
    assert pixels.shape == (1, 4, 6)
    np.testing.assert_allclose(pixels[0], luma, atol=1 / 255)


def test_one_bit(tmp_path):
    bits = GREY > 127
    np.testing.assert_array_equal(decoded(tmp_path, Image.fromarray(bits), channels=1)[0], bits)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(tmp_path, mode, channels):
    alpha = np.array([[0, 128, 255]], np.uint8)
    black = np.zeros((1, 3, 1 if mode == "LA" else 3), np.uint8)
    pixels = decoded(tmp_path, Image.fromarray(np.dstack([black, alpha]), mode=None), channels=channels)
    assert pixels.shape == (channels, 1, 3)
    np.testing.assert_allclose(pixels, np.broadcast_to(1 - alpha / 255, pixels.shape), atol=1 / 255)


def test_palettes_and_their_transparent_entry(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode=None).convert("L")
    palette = Image.frombytes("P", (3, 1), image.tobytes())
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    colours = np.rint(decoded(tmp_path, palette) * 255)[:, 0].T
    np.testing.assert_array_equal(colours, [[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    with_hole = np.rint(decoded(tmp_path, palette, transparency=1) * 255)[:, 0].T
    np.testing.assert_array_equal(with_hole, [[255, 0, 0], [255, 255, 255], [0, 0, 255]])


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_grey_keeps_its_depth(tmp_path, suffix, channels):
    deep = np.array([[0, 1, 256, 257, 40000, 65535]], np.uint16)
    pixels = decoded(tmp_path, Image.fromarray(deep), suffix, channels)
    np.testing.assert_allclose(pixels, np.broadcast_to(deep / 65535, (channels, 1, 6)), rtol=1e-6)


def test_sixteen_bit_grey_is_resized_like_eight_bit(tmp_path):
    small = Preprocessing(size=(3, 3))
    deep = decoded(tmp_path, Image.fromarray(GREY.astype(np.uint16) * 257), channels=1, preprocessing=small)
    flat = decoded(tmp_path, Image.fromarray(GREY), channels=1, preprocessing=small)
    np.testing.assert_allclose(deep, flat, atol=1 / 255)


def test_cmyk(tmp_path):
    cmyk = np.zeros((8, 8, 4), np.uint8)
    cmyk[..., 0] = 255  # cyan only: no red, all of green and blue
    pixels = decoded(tmp_path, Image.frombytes("CMYK", (8, 8), cmyk.tobytes()), "jpg", quality=100)
    np.testing.assert_allclose(pixels[:, 4, 4], [0, 1, 1], atol=0.02)


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    pixels = decoded(tmp_path, frames[0], "gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pixels[:, 0, 0], [1, 0, 0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((2, 2), 0.5, np.float32), "float values have no known range"),
        (np.array([[0, 70000]], np.int32), "go from 0 to 70000"),
        (np.array([[-1, 5]], np.int32), "go from -1 to 5"),
    ],
)
def test_values_without_a_known_range_are_refused(tmp_path, values, message):
    with pytest.raises(InputError, match=rf"x\.tif.*{message}"):
        decoded(tmp_path, Image.fromarray(values), "tif")


def test_squash(tmp_path):
    row = np.array([[0, 255]], np.uint8)
    pixels = decoded(tmp_path, Image.fromarray(row), channels=1, preprocessing=Preprocessing(size=(3, 4)))
    np.testing.assert_allclose(pixels[0], [[0, 0.25, 0.75, 1]] * 3, atol=1 / 255)


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (33, 33), (31, 97), (1, 1), (500, 8)])
def test_crop_is_torchvisions_resize_and_centre_crop(tmp_path, size):
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is the reference here")
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8))
    theirs = transforms.CenterCrop(28)(transforms.Resize(32)(image))
    ours = decoded(tmp_path, image, preprocessing=Preprocessing(size=(28, 28), crop=0.875))
    np.testing.assert_array_equal(np.rint(ours * 255).transpose(1, 2, 0), np.asarray(theirs))


@pytest.mark.parametrize("size", [(40, 30), (10, 90)])
def test_crop_to_a_rectangle_cuts_and_never_stretches(tmp_path, size):
    x = np.arange(size[0]) - (size[0] - 1) / 2
    y = np.arange(size[1])[:, None] - (size[1] - 1) / 2
    disc = np.where(x**2 + y**2 <= 4**2, 255, 0).astype(np.uint8)
    pixels = decoded(tmp_path, Image.fromarray(disc), "png", 1, Preprocessing(size=(64, 32), crop=1.0))[0]
    assert pixels.shape == (64, 32)
    across, down = (pixels > 0.5).any(0).sum(), (pixels > 0.5).any(1).sum()
    assert across == pytest.approx(down, abs=2)
    centre = [np.average(np.arange(n), weights=pixels.sum(1 - axis)) for axis, n in enumerate(pixels.shape)]
    np.testing.assert_allclose(centre, (31.5, 15.5), atol=0.6)  # margins are whole pixels


def test_one_pixel(tmp_path):
    dot = Image.new("RGB", (1, 1), (255, 0, 51))
    np.testing.assert_allclose(decoded(tmp_path, dot)[:, 0, 0], [1, 0, 0.2], rtol=1e-6)
    big = decoded(tmp_path, dot, preprocessing=Preprocessing(size=(7, 5)))
    np.testing.assert_allclose(big, np.broadcast_to(np.array([1, 0, 0.2])[:, None, None], (3, 7, 5)), rtol=1e-6)


def broken(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    return path


def jpeg(tmp_path, **options):
    path = tmp_path / "whole.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path, **options)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "came"),
    [(b"", "empty"), (b"just some words\n", "no picture format"), (b"\xff\xd8\xff\xe0", "")],
)
def test_files_that_are_no_pictures(tmp_path, content, came):
    with pytest.raises(InputError, match=rf"broken\.jpg: expected a picture, but .*{came}") as caught:
        decode(broken(tmp_path, content), AS_STORED, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_truncated_jpeg_is_an_error_and_never_grey(tmp_path, progressive, share):
    whole = jpeg(tmp_path, progressive=progressive)
    with pytest.raises(InputError, match=r"broken\.jpg.*cannot be decoded"):
        decode(broken(tmp_path, whole[: int(share * len(whole))]), AS_STORED, 3)


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif", "webp", "ppm"])
def test_other_truncated_formats_are_errors(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"x\.{suffix}: expected a picture"):
        decode(path, AS_STORED, 3)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"no\.jpg.*not there"):
        decode(tmp_path / "no.jpg", AS_STORED, 3)
    with pytest.raises(InputError, match="expected a picture"):
        decode(tmp_path, AS_STORED, 3)


def png_that_claims(tmp_path, width, height):
    """A few bytes whose header promises a huge picture."""
    Image.new("L", (1, 1)).save(tmp_path / "bomb.png")
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "bomb.png").write_bytes(content)
    return tmp_path / "bomb.png"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [14_000, 20_000, 100_000])
def test_decompression_bombs_are_refused_by_their_header(tmp_path, side):
    with pytest.raises(InputError, match=r"bomb\.png.*pixels") as caught:
        decode(png_that_claims(tmp_path, side, side), AS_STORED, 3)
    assert str(MAX_PIXELS) in str(caught.value)


def test_a_strip_that_would_be_resized_to_a_bomb(tmp_path):
    strip = Image.new("L", (8000, 1))
    with pytest.raises(InputError, match=r"x\.png.*2048000×256"):
        decoded(tmp_path, strip, preprocessing=Preprocessing(size=(224, 224), crop=0.875))


@pytest.mark.slow
def test_ten_thousand_squared_is_taken_without_a_warning(tmp_path):
    path = tmp_path / "large.png"
    Image.new("1", (10_000, 10_000), 1).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = decode(path, Preprocessing(size=(8, 8)), 1)
    np.testing.assert_array_equal(pixels, np.ones((1, 8, 8), np.float32))
