import errno
import os
import time
from unittest import mock

import pytest

from benchmark.errors import UsageError, os_error_words
from benchmark.storage.atomic import remove_litter
from benchmark.storage.run_folder import check_writable, read_json, replacing, write_json


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", None])
    assert read_json(path) == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        check_writable(tmp_path / "file")


def test_temporary_files_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path):
    for name in (".tmp-old", ".probe-old", ".tmp-new", "kept"):
        (tmp_path / name).write_text("x")
    for name in (".tmp-old", ".probe-old", "kept"):
        os.utime(tmp_path / name, (time.time() - 4000,) * 2)
    remove_litter([tmp_path, tmp_path / "missing"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-new", "kept"]


def test_a_check_is_asked_when_the_temporary_file_was_taken_away(tmp_path):
    def lost():
        if not list(tmp_path.glob(".tmp-*")):
            raise RuntimeError("lost")

    original = os.replace
    with mock.patch("benchmark.storage.atomic.os.replace", lambda temp, path: (os.unlink(temp), original(temp, path))):
        with pytest.raises(RuntimeError, match="lost"):
            write_json(tmp_path / "a", {}, lost)
        with pytest.raises(FileNotFoundError):
            write_json(tmp_path / "a", {}, lambda: None)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE])
def test_errors_of_disks_and_places_are_told_in_words(number):
    words = os_error_words(OSError(number, os.strerror(number), "/data/x"))
    assert words == f"{os.strerror(number)}: /data/x"


def test_an_error_that_is_no_place_has_no_words():
    assert os_error_words(OSError(errno.EPIPE, "Broken pipe")) is None
