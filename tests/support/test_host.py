"""Files over the wire."""

import gzip
import urllib.error
import urllib.request

import pytest
from host import compressed, served


def test_a_file_comes_compressed_with_its_type_and_a_missing_one_is_an_error(tmp_path):
    (tmp_path / "page.html").write_text("<p>" + "so much " * 100)
    with served(tmp_path) as address:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}/page.html?v=1") as answer:
            content = answer.read()
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.headers["Content-Type"] == "text/html"
        assert content == compressed(tmp_path / "page.html")
        assert gzip.decompress(content).decode() == "<p>" + "so much " * 100
        assert len(content) < 100
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}/other.html")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/page.html")
