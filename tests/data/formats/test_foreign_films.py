"""Films of strangers are read in a process of its own: it may crash, and nothing but that film is lost."""

import os
from fractions import Fraction

import av
import foreign
import numpy as np
import pytest
from foreign import face

from mango.cli import main
from mango.data.film_colours import in_colours
from mango.data.formats import child_process, foreign_films
from mango.data.formats.films import film_of, pictures_at
from mango.data.formats.sounds import voice_of
from mango.errors import InputError

FRAMES = 12


@pytest.fixture
def film(tmp_path):
    return foreign.film(tmp_path / "x.mp4", FRAMES, 30, face(1).voice)


def at(numbers: list[int]) -> list[Fraction]:
    return [Fraction(number, 30) for number in numbers]


def process_of_films() -> int:
    (child,) = (child for (_, program), child in child_process._held.children.items() if program == foreign_films.CHILD)
    return child.pid


def test_the_same_pictures_and_sound_as_here(film):
    found = film_of(film)
    assert (found.frames, found.fps, found.size, found.changes) == (FRAMES, Fraction(30), (64, 64), ())
    with av.open(str(film)) as container:
        wanted = [in_colours(frame) for frame in container.decode(video=0)]
    with av.open(str(film)) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    chosen = [0, 0, 3, 4, 4, 9, 11]
    for number, picture in zip(chosen, pictures_at(found, at(chosen)), strict=True):
        np.testing.assert_array_equal(picture, wanted[number])
    np.testing.assert_allclose(voice_of(found.sound), heard.clip(-1, 1)[: FRAMES * 16_000 // 30], atol=1e-6)


def test_one_process_for_many_films_and_a_new_one_after_a_stop(film):
    """Seen red by a stream that is left at its last picture, whose process has to be killed for every film."""
    found = film_of(film)
    first = process_of_films()
    for chosen in ([1, 5], [2]):
        assert len(list(pictures_at(found, at(chosen)))) == len(chosen) and process_of_films() == first
    next(iter(pictures := pictures_at(found, at([1, 5, 7]))))
    pictures.close()
    assert len(list(pictures_at(found, at([0])))) == 1 and process_of_films() != first


def test_who_asks_while_an_answer_is_read_gets_another_process(film):
    """Planted: the same process was asked, and one answer was read as the other."""
    found = film_of(film)
    first = pictures_at(found, at(list(range(FRAMES))))
    begun = next(first)
    second = list(pictures_at(found, at(list(range(FRAMES)))))
    assert len(second) == FRAMES and film_of(film) == found
    for mine, other in zip([begun, *first], second, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_long_film_is_not_taken_for_a_damaged_one(film, tmp_path, monkeypatch):
    """A decoder so slow that it needs longer between two pictures than an answer may take. Seen red without words that it goes on."""
    child = tmp_path / "child.py"
    child.write_text(f"""
import sys, time
sys.path.insert(0, {str(foreign_films.ROOT)!r})
from mango.data import film_reading
from mango.data.formats import film_child
decoded = film_reading._decoded
def slowly(*told, **more):
    for frame in decoded(*told, **more):
        time.sleep(0.3)
        yield frame
film_reading._decoded = slowly
film_child.main(sys.argv[1], int(sys.argv[2]))
""")
    monkeypatch.setattr(foreign_films, "CHILD", child)
    found = film_of(film)  # starts the process, which may take its time
    monkeypatch.setattr(child_process, "SECONDS", 2.0)
    assert len(list(pictures_at(found, at([0, FRAMES - 1])))) == 2


def test_a_process_that_ended_leaves_nothing_open(film, tmp_path, monkeypatch):
    """Of thousands of damaged films each cost two files, until there were no more for healthy ones."""
    child = tmp_path / "child.py"
    child.write_text("import os, sys; sys.stdin.buffer.read(8); os._exit(3)")
    monkeypatch.setattr(foreign_films, "CHILD", child)
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with pytest.raises(InputError, match="a crash"):
            film_of(film)
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("crash", ["os.kill(os.getpid(), signal.SIGSEGV)", "os._exit(3)"])
def test_a_crash_of_the_library_is_an_input_error(film, tmp_path, monkeypatch, capsys, crash):
    """Whatever asks: inspect, import. Seen red by reading films in this process, which nothing would have survived."""
    child = tmp_path / "child.py"
    child.write_text(f"import os, signal, sys; sys.stdin.buffer.read(8); {crash}")
    with monkeypatch.context() as patch:
        patch.setattr(foreign_films, "CHILD", child)
        with pytest.raises(InputError, match=r"a crash of the library that reads it \((signal 11|exit code 3)\)"):
            film_of(film)
        assert main(["data", "import", "--workers", "1", "--format", "plain", str(tmp_path), str(tmp_path / "out")]) == 2
        assert "a crash of the library" in capsys.readouterr().err
        assert main(["data", "inspect", str(film)]) == 0 and "a crash of the library" in capsys.readouterr().out
    assert film_of(film).frames == FRAMES


def test_its_memory_is_limited(film, monkeypatch):
    """So small here that not even FFmpeg fits. Seen red without the limit."""
    monkeypatch.setattr(foreign_films, "MOST_MEMORY", 2**25)
    monkeypatch.setattr(child_process._held, "children", {}, raising=False)
    with pytest.raises(InputError, match="expected an intact film"):
        film_of(film)
