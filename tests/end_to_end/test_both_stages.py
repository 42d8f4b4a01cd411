"""Faults noticed: learning that reads the truth, a stage two that loses state when killed, frozen learners that move, avatars and motion
that cannot be used afterwards, people who are drawn though they were not asked for."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from guarded_scripts import ROOT, guarded
from safetensors.torch import load_file

from mango.config import parse_command_line
from mango.data.motion_files import load_motion
from mango.data.truth import truth_folder
from mango.errors import InputError
from mango.training.stage2_config import Stage2Config
from renderer.head import HeadAvatar


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    """Everything a checkpoint holds in tensors, by file and name."""
    folder = run / "checkpoints" / f"{step:08d}"
    files = sorted(folder.rglob("*.safetensors"))
    assert files
    return {f"{file.relative_to(folder)}:{name}": value for file in files for name, value in load_file(file).items()}


def test_the_guard_would_notice_a_look_at_the_truth(tmp_path):
    script = tmp_path / "peek.py"
    script.write_text("open('/tmp/set.truth/dialogues')")
    done = subprocess.run(guarded(script), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 77 and "truth was looked for" in done.stderr


def test_each_phase_moves_its_learner_and_nobody_else(trained):
    """Steps 1-3 head, 4 head, 5-6 motion, 7 head, 8 motion."""
    two, four, six = (weights(trained.stage2, step) for step in (2, 4, 6))
    motion = [key for key in two if key.startswith("motion/model") and "mean" not in key and "std" not in key]
    heads = [key for key in two if key.startswith(("head/", "cameras/")) and not key.endswith((":triangles", ":barycentrics", ":identity"))]
    assert all(torch.equal(two[key], four[key]) for key in motion) and any(not torch.equal(four[key], six[key]) for key in motion)
    assert all(torch.equal(four[key], six[key]) for key in heads) and any(not torch.equal(two[key], four[key]) for key in heads)


def test_killed_and_continued_equals_uninterrupted(trained, tmp_path):
    """kill -9 as soon as the first checkpoint stands; then the same command again."""
    command = guarded("train_stage2.py", trained.out / "stage2.yaml", "--run", tmp_path / "killed")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (tmp_path / "killed/checkpoints/00000002").exists():
        assert process.poll() is None and time.monotonic() < deadline, "it ended or hung before its first checkpoint"
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed/checkpoints/00000008").exists(), "too fast to be killed: nothing was tested"
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
    again, whole = weights(tmp_path / "killed", 8), weights(trained.stage2, 8)
    assert again.keys() == whole.keys()
    assert [key for key in whole if not torch.equal(again[key], whole[key])] == []


def test_ctrl_c_saves_the_step_and_says_how_to_go_on(trained, tmp_path):
    """Planted once: saving only when a save is due."""
    where = ["--run", str(tmp_path / "run"), "--steps", "5000", "--every.save", "5000"]
    command = [sys.executable, "train_stage2.py", str(trained.out / "stage2.yaml"), *where]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics, deadline = tmp_path / "run/metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, "it ended or hung before its first step"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "run the same command again" in said
    state = json.loads((tmp_path / "run/checkpoints/last/state.json").read_text())
    assert 1 <= state["step"] < 5000


def test_logs_say_who_learned(trained):
    lines = [json.loads(line) for line in (trained.stage2 / "metrics.jsonl").read_text().splitlines()]
    who = [line["group"] for line in lines if line["group"] in ("head", "motion")]
    assert who == ["head"] * 4 + ["motion"] * 2 + ["head", "motion"]
    assert any(line["group"] == "validation" for line in lines)


def test_from_two_voices_to_a_video(trained, tmp_path):
    from mango.cli import main
    from mango.data.video import VideoFrames

    voices = trained.data / "dialogues" / "test000"
    people = json.loads((voices / "dialogue.json").read_text())["people"]
    avatars = [str(trained.stage2 / "avatars" / f"{people[side]}.safetensors") for side in "ab"]
    told, film = tmp_path / "told", tmp_path / "film.mp4"
    both = ["--avatar", avatars[0], "--avatar", avatars[1]]
    where = ["--own", str(voices / "a.wav"), "--partner", str(voices / "b.wav"), "--checkpoint", str(trained.stage2), "--out", str(told)]
    assert main(["generate", *where, "--steps", "2", *both]) == 0
    assert main(["render", "--motion", str(told), *both, "--out", str(film), "--size", "64"]) == 0
    frames = VideoFrames(film)
    assert len(frames) == json.loads((voices / "dialogue.json").read_text())["frames"] and frames.size == (64, 128)
    left, right = frames.frames([10])[0].float().split(64, dim=1)
    assert (left - right).abs().mean() > 1, "two people, not one twice"


def test_a_new_avatar_fades_once_it_has_been_judged(trained, tmp_path, monkeypatch):
    """Planted: no fading at all, fading before the judgement, fading of what a resumed run goes on from, an adapter that does nothing."""
    from mango.training import finetune as finetuning

    judged = []

    def fade(studio, learners):
        learners.avatars["p00"].opacity_logits.data.fill_(-5.0)

    def quality(studio, learners):
        judged.append(float(learners.avatars["p00"].opacity_logits.detach().max()))
        return ""

    monkeypatch.setattr(finetuning, "fade_at_cut_edges", fade)
    monkeypatch.setattr(finetuning, "quality", quality)
    out = tmp_path / "p00"
    config = finetuning.FinetuneConfig(trained.data, "p00", trained.stage2, out, effort="quick", head_steps=2)
    assert finetuning.finetune(config) == 0 == finetuning.finetune(config)
    assert (HeadAvatar.load(out / "avatars" / "p00.safetensors").opacity_logits == -5).all()
    assert len(judged) == 2 and judged[0] == judged[1] > -5
    assert not (out / "adapters").exists(), "its motion learnt nothing"


def test_finetuning_learns_one_person_and_leaves_the_general_run_alone(trained, tmp_path, capsys):
    from mango.cli import main

    before = weights(trained.stage2, 8)
    out = tmp_path / "p00"
    words = ["--data", str(trained.data), "--person", "p00", "--checkpoint", str(trained.stage2), "--out", str(out)]
    assert main(["finetune", *words, "--head-steps", "2", "--cycles", "1"]) == 0
    said = capsys.readouterr().out
    assert "6 steps of p00: about " in said and "pictures that were held out: PSNR " in said
    assert [path.name for path in (out / "avatars").iterdir()] == ["p00.safetensors"]
    after = weights(out, 6)
    assert all(torch.equal(after[key], before[key.replace("model.s", "ema.s")]) for key in after if key.startswith("motion/model"))
    learnt = {key.removeprefix("adapter/p00/ema.safetensors:"): value for key, value in after.items() if key.startswith("adapter/p00/ema")}
    kept = load_file(out / "adapters" / "p00.safetensors")
    torch.testing.assert_close(kept["style"], 0.5 * learnt["style"], rtol=1e-4, atol=0.0)
    adapter, voices = out / "adapters" / "p00.safetensors", trained.data / "dialogues" / "test000"
    told = ["--own", str(voices / "a.wav"), "--partner", str(voices / "b.wav"), "--checkpoint", str(trained.stage2), "--steps", "2"]
    for name, worn in (("plain", []), ("worn", ["--adapter", str(adapter), "--adapter", "none"])):
        assert main(["generate", *told, "--out", str(tmp_path / name), *worn]) == 0
    other = trained.stage2 / "avatars" / "p01.safetensors"
    capsys.readouterr()
    looks = ["--avatar", str(other), "--avatar", str(other), "--adapter", str(adapter), "--adapter", "none"]
    assert main(["generate", *told, "--out", str(tmp_path / "swapped"), *looks]) == 0
    assert capsys.readouterr().out.startswith("a looks like p01 and moves like p00\nwrote ")
    plain, worn = ([load_motion(tmp_path / name / f"{side}.motion.npz").expr for side in "ab"] for name in ("plain", "worn"))
    assert not torch.equal(plain[0], worn[0]) and torch.equal(plain[1], worn[1]), "the one person alone"
    assert all(torch.equal(before[key], value) for key, value in weights(trained.stage2, 8).items())


def test_bad_input_is_one_clear_line(trained, tmp_path):
    command = [sys.executable, "train_stage2.py", str(trained.out / "stage2.yaml"), "--run", str(tmp_path / "run"), "--stage1", "/nowhere"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "/nowhere" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("option", "wrong"), [("--train-split", "holidays"), ("--people", "p77")])
def test_bad_input_is_named(trained, tmp_path, option, wrong):
    import train_stage2

    words = [str(trained.out / "stage2.yaml"), "--run", str(tmp_path / "run"), option, wrong]
    with pytest.raises(InputError, match=wrong):
        train_stage2.main(parse_command_line(Stage2Config, words))
    assert not (tmp_path / "run").exists()


def test_evaluation_reads_the_truth_and_says_so_when_it_is_missing(trained, tmp_path, capsys):
    from mango.cli import main

    command = ["evaluate", "--checkpoint", str(trained.stage2), "--data", str(trained.data), "--steps", "2"]
    assert main([*command, "--json", str(tmp_path / "scores.json")]) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["rows"]["tracker labels"]["metrics"]["LVE_max"]["all"] > 0
    truth = truth_folder(trained.data)
    truth.rename(tmp_path / "hidden")
    try:
        assert main(command) == 2
        assert "truth" in capsys.readouterr().err
    finally:
        (tmp_path / "hidden").rename(truth)


def test_the_demo_scores_and_reports_what_was_trained(trained):
    """The last parts of the demo on a tiny run; the control stands in as a copy of stage one."""
    from mango.app import demo
    from mango.app.demo_report import write
    from mango.app.demo_scores import score

    shutil.copytree(trained.stage1, trained.longer, symlinks=True)
    score(trained, 2, lambda done, total: None)
    scores = json.loads(trained.scores.read_text())
    assert set(scores["rows"]) == {"still face", "tracker labels", "stage one", "stage one, longer", "stage two"}
    assert [step for step, _ in scores["curves"]["stage two"]] == [0, 2, 4, 6, 8]
    demo.tell(trained)
    demo.film(trained)
    write(trained, 0, {"stage one": 1.0})
    page = trained.report.read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "data:video/mp4;base64," in page
    assert f"{scores['rows']['stage two']['lve_max']:.2f}" in page


def test_a_finished_run_is_not_trained_again(trained, monkeypatch):
    from mango.app import demo

    monkeypatch.setattr(demo.subprocess, "Popen", lambda *_, **__: pytest.fail("it trained again"))
    demo.train(demo.stage2_training(trained, 0))


def test_results_of_runs_that_are_gone_are_not_kept(tmp_path, monkeypatch):
    """Seen red: after a run's folder was removed, the demo showed the earlier run's figures and film beside the new one's curves."""
    from mango.app import demo

    kept = []
    folders = demo.Folders(tmp_path)
    results = (folders.scores, folders.video, folders.report, folders.told / "generation.json")
    for part in ("make_data", "train", "train_second", "tell", "film", "report"):
        monkeypatch.setattr(demo, part, lambda *_: None)
    monkeypatch.setattr(demo, "evaluate", lambda _: kept.append([file.exists() for file in results]))
    for finished in (True, False):
        folders.told.mkdir(exist_ok=True)
        for file in results:
            file.write_text("{}")
        monkeypatch.setattr(demo.Training, "finished", property(lambda run, all=finished: all or run.run != folders.longer))
        assert demo.main(tmp_path, 0) == 0
    assert kept == [[True] * 4, [False] * 4]
