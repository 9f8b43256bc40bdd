"""How much memory LiteRT takes for a net's activations."""

import pytest


def arena(content, shape=None):
    """Return the bytes between the first and the last activation in LiteRT's memory.

    A net of any size runs at the `shape` of its input. Neither constants nor shapes count: they lie
    elsewhere.
    """
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    plain = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    net = litert.Interpreter(
        model_content=content, experimental_op_resolver_type=plain, num_threads=1
    )
    if shape is not None:
        net.resize_tensor_input(net.get_input_details()[0]["index"], shape)
    net.allocate_tensors()
    net.invoke()  # the size of the last reshape is worked out on the way
    given = {net.get_input_details()[0]["index"]}
    shapes = ("SHAPE", "STRIDED_SLICE", "PACK")
    made = [op for op in net._get_ops_details() if op["op_name"] not in shapes]
    views = [net.tensor(i)() for i in given.union(*(op["outputs"] for op in made))]
    starts = [view.__array_interface__["data"][0] for view in views]
    ends = [start + view.nbytes for start, view in zip(starts, views, strict=True)]
    return max(ends) - min(starts)
