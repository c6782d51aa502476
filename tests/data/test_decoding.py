"""Pictures of every kind, against what a person sees: one picture, written in many ways, and values by hand."""

import io

import numpy as np
import pytest

from vse_lightning.data.files.decoding import UnreadableImageError, decode_rgb

Image = pytest.importorskip("PIL.Image")

RAMP = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
EIGHT_BITS = np.round(RAMP / 257)


def encoded(picture, form="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def decoded(picture, form="PNG", **options):
    return pixels(encoded(picture, form, **options))


def pixels(content):
    picture = decode_rgb(io.BytesIO(content))
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def with_palette(index):
    picture = Image.new("P", (8, 8), index)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    return picture


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (EIGHT_BITS.astype(np.uint8), "PNG"),
        (RAMP.astype(np.uint16), "PNG"),
        (RAMP.astype(np.uint16), "TIFF"),
        (RAMP.astype(np.uint16), "PPM"),
        (RAMP.astype(np.int32), "TIFF"),
        (RAMP.astype(np.uint32), "TIFF"),
        ((RAMP / 257).astype(np.int32), "TIFF"),
        ((RAMP / 65535).astype(np.float32), "TIFF"),
        ((RAMP / 257).astype(np.float32), "TIFF"),
    ],
)
def test_one_ramp_in_every_depth_of_grey_is_the_same_picture(values, form):
    found = decoded(Image.fromarray(values), form)
    assert (found == found[..., :1]).all()
    np.testing.assert_allclose(found[..., 0], EIGHT_BITS, atol=1)
    assert len(np.unique(found)) >= 255


@pytest.mark.parametrize("most", [300, 4000, 65535])
def test_16_bits_are_divided_by_their_range_and_not_by_what_is_in_the_picture(most):
    values = np.array([[0, most // 2], [most, 1]], np.uint16)
    expected = np.round(values / 65535 * 255)
    for form in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decoded(Image.fromarray(values), form)[..., 0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_in_which_0_is_white(dtype):
    most = 1 if dtype is np.float32 else np.iinfo(dtype).max
    picture = Image.fromarray((np.array([[0, 0.25], [0.5, 1]]) * most).astype(dtype))
    plain = encoded(picture, "TIFF")
    entry = b"\x06\x01\x03\x00\x01\x00\x00\x00"  # the tag PhotometricInterpretation
    assert plain.count(entry + b"\x01") == 1
    found = pixels(plain.replace(entry + b"\x01", entry + b"\x00"))
    np.testing.assert_allclose(found, 255 - pixels(plain), atol=1)


def test_twelve_bits_of_a_tiff_are_divided_by_4095():
    plain = encoded(Image.fromarray(np.zeros((1, 2), np.uint16)), "TIFF")
    entry = b"\x02\x01\x03\x00\x01\x00\x00\x00"  # the tag BitsPerSample
    assert plain.count(entry + b"\x10") == 1
    twelve = plain.replace(entry + b"\x10", entry + b"\x0c")
    place = twelve.rindex(b"\x00" * 4)
    np.testing.assert_array_equal(pixels(twelve[:place] + b"\xff\xf8\x00\x00")[0, :, 0], [255, 128])


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array([[0, 70000]], np.int32), r"\[0, 255\] or \[0, 65535\], got 0 to 70000"),
        (np.array([[-1, 5]], np.int32), r"\[0, 255\] or \[0, 65535\], got -1 to 5"),
        (np.array([[0, 300.5]], np.float32), r"\[0, 1\] or \[0, 255\], got 0 to 300.5"),
        (np.array([[-0.5, 0.5]], np.float32), r"\[0, 1\] or \[0, 255\], got -0.5 to 0.5"),
        (np.array([[0, np.nan]], np.float32), "it holds NaN or infinity"),
    ],
)
def test_values_that_do_not_tell_what_is_white(values, found):
    with pytest.raises(UnreadableImageError, match=rf"^scan\.tif cannot be read as a picture: .*{found}$"):
        decode_rgb(io.BytesIO(encoded(Image.fromarray(values), "TIFF")), "scan.tif")


def test_16_bits_with_a_sign_are_divided_by_their_range_too():
    signed = {"tiffinfo": {339: 2}}  # the tag SampleFormat
    half = Image.fromarray((RAMP / 2).astype(np.uint16))
    np.testing.assert_allclose(decoded(half, "TIFF", **signed)[..., 0], EIGHT_BITS, atol=1)
    with pytest.raises(UnreadableImageError, match=r"told by values in \[0, 32767\], got -32"):
        decoded(Image.fromarray(RAMP.astype(np.uint16)), "TIFF", **signed)


def test_rounding_outside_of_a_range_of_floats_is_no_other_range():
    values = np.array([[-1e-5, 1.00001]], np.float32)
    np.testing.assert_array_equal(decoded(Image.fromarray(values), "TIFF")[0, :, 0], [0, 255])


@pytest.mark.parametrize("hidden", [(0, 0, 0), (240, 30, 10), (255, 255, 255)])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_hidden_colours_are_white(hidden, form):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., :3] = hidden
    rgba[2:6, 2:6] = (200, 60, 30, 255)
    expected = np.full((8, 8, 3), 255)
    expected[2:6, 2:6] = (200, 60, 30)
    np.testing.assert_array_equal(decoded(Image.fromarray(rgba), form, lossless=True), expected)


@pytest.mark.parametrize(
    ("picture", "form", "options", "expected"),
    [
        (Image.new("RGBA", (2, 2), (200, 0, 100, 51)), "PNG", {}, (244, 204, 224)),  # 255 - 0.2 * (255 - colour)
        (Image.new("LA", (2, 2), (128, 0)), "PNG", {}, (255, 255, 255)),
        (Image.new("LA", (2, 2), (0, 51)), "PNG", {}, (204, 204, 204)),
        (Image.new("LA", (2, 2), (0, 51)), "TIFF", {}, (204, 204, 204)),
        (with_palette(1), "PNG", {"transparency": b"\xff\x00"}, (255, 255, 255)),
        (with_palette(0), "PNG", {"transparency": b"\xff\x00"}, (10, 20, 30)),
        (with_palette(1), "GIF", {"transparency": 1}, (255, 255, 255)),
        (Image.new("RGB", (2, 2), (10, 20, 30)), "PNG", {"transparency": (10, 20, 30)}, (255, 255, 255)),
        (Image.new("RGB", (2, 2), (10, 20, 30)), "PNG", {"transparency": (10, 20, 31)}, (10, 20, 30)),
        (Image.new("L", (2, 2), 10), "PNG", {"transparency": 10}, (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 777, np.uint16)), "PNG", {"transparency": 777}, (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 777, np.uint16)), "PNG", {"transparency": 778}, (3, 3, 3)),
    ],
)
def test_transparency_is_over_white(picture, form, options, expected):
    np.testing.assert_allclose(decoded(picture, form, **options)[0, 0], expected, atol=1)


PILLOW = int(pytest.importorskip("PIL").__version__.split(".")[0])
READS_ITS_YCBCR = pytest.mark.skipif(PILLOW < 13, reason="Pillow 12 cannot read its own")


@pytest.mark.parametrize(
    ("picture", "form", "expected"),
    [
        (Image.new("1", (8, 8), 1), "PNG", (255, 255, 255)),
        (Image.new("1", (8, 8), 0), "TIFF", (0, 0, 0)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", (255, 0, 0)),
        (Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "TIFF", (255, 255, 255)),
        (Image.new("YCbCr", (8, 8), (76, 85, 255)), "JPEG", (255, 0, 0)),
        pytest.param(*(Image.new("YCbCr", (8, 8), (76, 85, 255)), "TIFF", (255, 0, 0)), marks=READS_ITS_YCBCR),
        (Image.new("LAB", (8, 8), (255, 128, 128)), "TIFF", (255, 255, 255)),
        (Image.new("LAB", (8, 8), (138, 128 + 81, 128 + 70)), "TIFF", (255, 0, 0)),  # sRGB's red under D50
        (with_palette(1), "PNG", (40, 50, 60)),
    ],
)
def test_other_ways_to_write_a_colour(picture, form, expected):
    np.testing.assert_allclose(decoded(picture, form)[4, 4], expected, atol=5)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(form):
    first, *others = [Image.new("RGB", (8, 8), colour) for colour in [(250, 0, 0), (0, 250, 0), (0, 0, 250)]]
    found = decoded(first, form, save_all=True, append_images=others)
    np.testing.assert_allclose(found[4, 4], (250, 0, 0), atol=5)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_pictures_are_turned_as_their_exif_says(form, orientation, corner):
    values = np.zeros((16, 32), np.uint8)
    values[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decoded(Image.fromarray(values).convert("RGB"), form, exif=exif)
    assert found.shape == ((16, 32, 3) if orientation in (1, 3) else (32, 16, 3))
    assert found[corner].min() > 200
    assert found.mean() < 100


def test_16_bits_are_turned_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.array([[65535, 0]], np.uint16)
    assert decoded(Image.fromarray(values), "TIFF", exif=exif)[..., 0].tolist() == [[255], [0]]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated(form, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), form)
    with pytest.raises(UnreadableImageError, match=r"^b/3\.jpg cannot be read as a picture: ") as error:
        decode_rgb(io.BytesIO(content[: int(share * len(content))]), "b/3.jpg")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n <!DOCTYPE html><html>404</html>", "it is a page of HTML or XML, not a picture"),
        (b"<svg></svg>", "it is a page of HTML or XML"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "it is a pointer of Git LFS, not the picture: run git lfs",
        ),
        (b"no picture", r"it is truncated, or of no format that Pillow knows, and starts with b'no picture'"),
    ],
)
def test_what_is_no_picture_is_named_for_what_it_is(content, reason):
    with pytest.raises(UnreadableImageError, match=rf"^b/3\.jpg cannot be read as a picture: {reason}"):
        decode_rgb(io.BytesIO(content), "b/3.jpg")
