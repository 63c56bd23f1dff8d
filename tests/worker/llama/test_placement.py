from __future__ import annotations

from worker.llama.devices import Device
from worker.llama.placement import Placement

GPU = Device(1, "CUDA0", "a GPU")

ALL = """\
load_tensors: layer   0 assigned to device CUDA0, is_swa = 0
load_tensors: layer   1 assigned to device CUDA0, is_swa = 0
load_tensors: layer   2 assigned to device CUDA0, is_swa = 0
done_getting_tensors: tensor 'token_embd.weight' (q4_K) (and 0 others) cannot be used with \
preferred buffer type CUDA_Host, using CPU instead
load_tensors: offloaded 3/3 layers to GPU
load_tensors:   CPU_Mapped model buffer size =    10.00 MiB
load_tensors:        CUDA0 model buffer size =   100.50 MiB
llama_kv_cache:      CUDA0 KV buffer size =     8.00 MiB
sched_reserve:      CUDA0 compute buffer size =     2.00 MiB
sched_reserve:  CUDA_Host compute buffer size =     1.00 MiB
"""


def test_all_layers_on_the_device() -> None:
    placement = Placement.read(ALL, [GPU])
    assert placement.is_complete
    assert (placement.layers_on_device, placement.layers_total) == (3, 3)
    assert placement.bytes_on_device == int(110.5 * 2**20)


def test_a_layer_left_on_the_cpu_is_not_complete() -> None:
    text = ALL.replace("layer   1 assigned to device CUDA0", "layer   1 assigned to device CPU")
    placement = Placement.read(text, [GPU])
    assert not placement.is_complete
    assert (placement.layers_on_device, placement.layers_total) == (2, 3)


def test_a_tensor_that_fell_back_to_the_cpu_is_not_complete() -> None:
    text = ALL + (
        "done_getting_tensors: tensor 'blk.0.ffn_up.weight' (iq2_xxs) (and 3 others) cannot be "
        "used with preferred buffer type CUDA0, using CPU instead\n"
    )
    placement = Placement.read(text, [GPU])
    assert placement.fallbacks == ("blk.0.ffn_up.weight",)
    assert not placement.is_complete


def test_another_device_than_the_chosen_one_does_not_count() -> None:
    assert not Placement.read(ALL, [Device(2, "CUDA1", "another GPU")]).is_complete


def test_without_devices_everything_belongs_on_the_cpu() -> None:
    text = ALL.replace("CUDA0", "CPU")
    assert Placement.read(text, []).is_complete
    assert not Placement.read(ALL, []).is_complete


def test_a_log_that_says_nothing_proves_nothing() -> None:
    assert not Placement.read("", [GPU]).is_complete
