"""Scoped defaults: what wins over what, what is rejected where, and who sees which scope."""

import asyncio
import copy
import functools
import inspect
import pickle
import re
import threading

import pytest
import torch

from torchslim.arg_scope import (
    add_arg_scope,
    arg_scope,
    arg_scope_func_key,
    arg_scoped_arguments,
    current_arg_scope,
    explain_arg_scope,
    has_arg_scope,
)


@add_arg_scope
def op(inputs, size, stride=1, padding="SAME", *, rate=1):
    """Gives back what it was called with."""
    return {"inputs": inputs, "size": size, "stride": stride, "padding": padding, "rate": rate}


@add_arg_scope
def open_op(inputs, **options):
    return {"inputs": inputs, **options}


@add_arg_scope
def failing(inputs, stride=1, message="broken"):
    raise ValueError(message)


Conv2d = add_arg_scope(torch.nn.Conv2d)


def here() -> str:
    """`file:line` of the caller."""
    frame = inspect.currentframe().f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


# What wins


def test_scope_replaces_the_default_and_only_inside():
    with arg_scope([op], stride=2):
        assert op(0, 3)["stride"] == 2
    assert op(0, 3)["stride"] == 1


def test_explicit_keyword_beats_the_scope():
    with arg_scope([op], stride=2):
        assert op(0, 3, stride=5)["stride"] == 5


@pytest.mark.parametrize(
    ("args", "stride", "padding"), [((0, 3), 2, "VALID"), ((0, 3, 7), 7, "VALID"), ((0, 3, 7, "X"), 7, "X")]
)
def test_explicit_positional_beats_the_scope(args, stride, padding):
    with arg_scope([op], stride=2, padding="VALID"):
        result = op(*args)
    assert (result["stride"], result["padding"]) == (stride, padding)


def test_required_and_keyword_only_arguments_can_be_scoped():
    with arg_scope([op], size=9, rate=4):
        assert op(0) == {"inputs": 0, "size": 9, "stride": 1, "padding": "SAME", "rate": 4}
        assert op(0, 3)["size"] == 3


def test_none_is_a_value():
    with arg_scope([op], padding=None):
        assert op(0, 3)["padding"] is None


def test_inner_scope_replaces_argument_by_argument():
    with arg_scope([op, open_op], stride=2, padding="VALID"):
        with arg_scope([op], stride=3):
            assert (op(0, 3)["stride"], op(0, 3)["padding"]) == (3, "VALID")
            assert open_op(0)["stride"] == 2
        assert op(0, 3)["stride"] == 2


def test_dict_values_are_replaced_not_merged():
    with (
        arg_scope([open_op], params={"decay": 0.9, "scale": True}),
        arg_scope([open_op], params={"decay": 0.5}),
    ):
        assert open_op(0)["params"] == {"decay": 0.5}


@pytest.mark.parametrize("ops", [op, [op], (op,)])
def test_one_op_needs_no_list(ops):
    with arg_scope(ops, stride=2):
        assert op(0, 3)["stride"] == 2


def test_alias_shares_the_scope():
    alias = op
    with arg_scope([alias], stride=2):
        assert op(0, 3)["stride"] == 2


# Captured scopes


def test_captured_scope_replaces_the_whole_current_scope():
    with arg_scope([op], stride=2) as captured:
        pass
    with arg_scope([op, open_op], stride=9, padding="VALID"), arg_scope(captured) as entered:
        assert (op(0, 3)["stride"], op(0, 3)["padding"]) == (2, "SAME")
        assert "stride" not in open_op(0)
        assert entered == captured


@pytest.mark.parametrize("empty", [{}, "captured"])
def test_empty_scope_resets(empty):
    if empty == "captured":
        with arg_scope([]) as empty:
            pass
    with arg_scope([op], stride=2), arg_scope(empty):
        assert op(0, 3)["stride"] == 1


def test_no_ops_captures_the_current_scope():
    with arg_scope([op], stride=2), arg_scope([]) as captured:
        pass
    with arg_scope(captured):
        assert op(0, 3)["stride"] == 2


def test_captured_scope_can_be_entered_while_it_is_entered():
    with arg_scope([op], stride=2) as captured:
        pass
    with arg_scope(captured), arg_scope(op, stride=3), arg_scope(captured):
        assert op(0, 3)["stride"] == 2


def test_captured_scope_is_a_mapping_that_does_not_change():
    with arg_scope([op], stride=2) as captured:
        where = here()
        with arg_scope([op], stride=3):
            pass
    key = arg_scope_func_key(op)
    file, _, line = where.rpartition(":")
    assert dict(captured) == {key: {"stride": (2, f"{file}:{int(line) - 1}")}}
    assert current_arg_scope() == {}
    with pytest.raises(TypeError, match="does not support item assignment"):
        captured[key]["stride"] = 3


def test_captured_scope_copies_and_pickles():
    with arg_scope([op], stride=2) as captured:
        pass
    for again in (copy.deepcopy(captured), pickle.loads(pickle.dumps(captured))):
        assert again == captured
        with arg_scope(again):
            assert op(0, 3)["stride"] == 2


def test_scope_is_built_on_what_is_current_when_it_is_entered():
    manager = arg_scope([op], stride=2)
    with arg_scope([op], padding="VALID"), manager:
        assert (op(0, 3)["stride"], op(0, 3)["padding"]) == (2, "VALID")


def test_scope_as_a_decorator():
    @arg_scope([op], stride=2)
    def net():
        return op(0, 3)["stride"]

    assert (net(), net(), op(0, 3)["stride"]) == (2, 2, 1)


# What is rejected


def test_unknown_argument_fails_at_the_with():
    with pytest.raises(TypeError, match=r"argument of `op`\. Got 'strid'\. Did you mean 'stride'\?") as caught:
        arg_scope([open_op, op], strid=2)
    assert "`op` takes: inputs, size, stride, padding, rate." in str(caught.value)


def test_unknown_argument_without_a_near_name():
    with pytest.raises(TypeError, match=r"Got 'zzz'\. `op` takes"):
        arg_scope([op], zzz=2)


def test_op_with_kwargs_takes_any_name():
    with arg_scope([open_op], whatever=2):
        assert open_op(0)["whatever"] == 2


def test_undecorated_op():
    def plain(a=1):
        return a

    with pytest.raises(ValueError, match=r"decorated with @add_arg_scope\. Got .*plain"):
        arg_scope([op, plain], a=2)
    for ask in (arg_scope_func_key, arg_scoped_arguments, explain_arg_scope):
        with pytest.raises(ValueError, match="plain"):
            ask(plain)


def test_captured_scope_takes_no_keywords():
    with arg_scope([op], stride=2) as captured:
        pass
    with pytest.raises(ValueError, match="Got padding"):
        arg_scope(captured, padding="VALID")


@pytest.mark.parametrize("wrong", [None, 3, "conv2d", {op}])
def test_neither_ops_nor_scope(wrong):
    with pytest.raises(TypeError, match=re.escape(f"Got {wrong!r}")):
        arg_scope(wrong, stride=2)


def test_mapping_that_is_no_scope():
    with pytest.raises(TypeError, match=re.escape("Got {'conv2d': {'stride': 2}}")):
        arg_scope({"conv2d": {"stride": 2}})


@pytest.mark.parametrize("rejected", [{"strid": 3}, {"stride": 3, "zzz": 4}])
def test_rejected_scope_leaves_the_outer_one_intact(rejected):
    with arg_scope([op], stride=2) as outer:
        with pytest.raises(TypeError, match="Got"), arg_scope([op], **rejected):
            pass
        assert current_arg_scope() is outer
        assert op(0, 3)["stride"] == 2
    assert current_arg_scope() == {}


def test_scope_is_popped_after_an_error():
    with pytest.raises(KeyError, match="user"), arg_scope([op], stride=2):
        raise KeyError("user")
    assert op(0, 3)["stride"] == 1


# Errors of the op itself


def notes_of(function) -> list[str]:
    with pytest.raises(ValueError, match="broken") as caught:
        function()
    return getattr(caught.value, "__notes__", [])


def test_error_names_the_with_that_set_a_value():
    with arg_scope([failing], stride=2):
        where = here()
        notes = notes_of(lambda: failing(0))
    file, _, line = where.rpartition(":")
    assert notes == [f"arg_scope: `failing` was called with stride=2 (set at {file}:{int(line) - 1})"]


def test_error_of_a_call_that_nothing_was_scoped_for_has_no_note():
    assert notes_of(lambda: failing(0)) == []
    with arg_scope([failing], stride=2):
        assert notes_of(lambda: failing(0, 3)) == []


def test_note_is_added_once():
    recursive = add_arg_scope(lambda depth, stride=1: recursive(depth - 1) if depth else failing(0))
    with arg_scope([recursive, failing], stride=2):
        notes = notes_of(lambda: recursive(3))
    assert [re.search("`(.*)`", note)[1] for note in notes] == ["failing", "<lambda>"]


# What is decorated


def test_wrapper_looks_like_the_function():
    assert op.__name__ == "op"
    assert op.__doc__ == "Gives back what it was called with."
    assert list(inspect.signature(op).parameters) == ["inputs", "size", "stride", "padding", "rate"]
    assert has_arg_scope(op)
    assert not has_arg_scope(op.__wrapped__)
    assert pickle.loads(pickle.dumps(op)) is op


def test_scoped_arguments_are_those_with_defaults():
    # TF-Slim slices co_varnames and loses defaults where a function has locals.
    @add_arg_scope
    def with_locals(inputs, a=1, b=2):
        c = d = a + b
        return inputs + c + d

    assert arg_scoped_arguments(with_locals) == ("a", "b")
    assert arg_scoped_arguments(op) == ("stride", "padding", "rate")
    assert arg_scoped_arguments(open_op) == ()


def test_decorating_twice_changes_nothing():
    assert add_arg_scope(op) is op
    assert add_arg_scope(Conv2d) is Conv2d


def test_functions_of_one_name_do_not_share_their_scopes():
    def make():
        @add_arg_scope
        def local(value=1):
            return value

        return local

    first, second = make(), make()
    assert arg_scope_func_key(first) != arg_scope_func_key(second)
    with arg_scope([first], value=2):
        assert (first(), second()) == (2, 1)


def test_wrapping_an_op_keeps_it_an_op():
    @functools.wraps(op)
    def logged(*args, **kwargs):
        return op(*args, **kwargs)

    with arg_scope([logged], stride=2):
        assert logged(0, 3)["stride"] == op(0, 3)["stride"] == 2


def test_decorating_a_decorated_function_sees_its_new_signature():
    def layer(function):
        @functools.wraps(function)
        def call(inputs, *args, scope=None, **kwargs):
            return {**function(inputs, *args, **kwargs), "scope": scope}

        parameters = list(inspect.signature(function).parameters.values())
        scope = inspect.Parameter("scope", inspect.Parameter.KEYWORD_ONLY, default=None)
        call.__signature__ = inspect.Signature([*parameters, scope])
        return call

    @add_arg_scope
    @layer
    def shift(inputs, by=1):
        return {"result": inputs + by}

    assert arg_scoped_arguments(shift) == ("by", "scope")
    with arg_scope([shift], by=5, scope="s"):
        assert shift(1) == {"result": 6, "scope": "s"}
        assert shift(1, 2) == {"result": 3, "scope": "s"}
    with pytest.raises(TypeError, match=r"Got 'b'\. .*takes: inputs, by, scope"):
        arg_scope(shift, b=2)


def test_method():
    class Net:
        @add_arg_scope
        def block(self, inputs, stride=1):
            return inputs, stride

    with arg_scope([Net.block], stride=2):
        assert Net().block(0) == (0, 2)
        assert Net().block(0, 5) == (0, 5)


@pytest.mark.parametrize("function", [torch.relu, torch.nn.functional.conv2d])
def test_function_without_a_signature_takes_any_name(function):
    with pytest.raises(ValueError, match="signature"):
        inspect.signature(function)
    scoped = add_arg_scope(function)
    with arg_scope([scoped], anything=1):
        assert current_arg_scope()[arg_scope_func_key(scoped)]["anything"].value == 1


# Classes


def test_class_makes_instances_of_the_original():
    with arg_scope([Conv2d], kernel_size=3, bias=False, padding=1):
        conv = Conv2d(3, 4)
        explicit = Conv2d(3, 4, 5, padding=2)
    assert type(conv) is torch.nn.Conv2d
    assert (conv.kernel_size, conv.bias, conv.padding) == ((3, 3), None, (1, 1))
    assert (explicit.kernel_size, explicit.padding) == ((5, 5), (2, 2))
    assert torch.nn.Conv2d(3, 4, 3).bias is not None
    assert Conv2d(3, 4, 3).bias is not None


def test_class_instances_pickle_and_copy():
    with arg_scope([Conv2d], kernel_size=3):
        conv = Conv2d(3, 4)
    for again in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert type(again) is torch.nn.Conv2d
        assert torch.equal(again.weight, conv.weight)


def test_class_stands_for_the_original():
    assert isinstance(torch.nn.Conv2d(1, 1, 1), Conv2d)
    assert not isinstance(torch.nn.Linear(1, 1), Conv2d)
    assert issubclass(torch.nn.Conv2d, Conv2d)
    assert issubclass(Conv2d, torch.nn.Module)
    assert (Conv2d.__name__, Conv2d.forward) == ("Conv2d", torch.nn.Conv2d.forward)
    assert list(inspect.signature(Conv2d).parameters)[:3] == ["in_channels", "out_channels", "kernel_size"]
    assert copy.deepcopy({"layer": Conv2d})["layer"] is Conv2d


def test_subclass_of_a_scoped_class_is_a_plain_subclass():
    class Mine(Conv2d):
        def __init__(self):
            super().__init__(3, 4, 1)

    with arg_scope([Conv2d], bias=False):
        assert Mine().bias is not None
    assert Mine.__mro__[1] is torch.nn.Conv2d


def test_class_rejects_unknown_arguments_and_explains_errors():
    with pytest.raises(TypeError, match=r"argument of `Conv2d`\. Got 'strides'\. Did you mean 'stride'"):
        arg_scope(Conv2d, strides=2)
    with arg_scope(Conv2d, groups=2), pytest.raises(ValueError, match="divisible by groups") as caught:
        Conv2d(3, 4, 1)
    assert "`Conv2d` was called with groups=2 (set at " in caught.value.__notes__[0]


# Explaining


def test_explain_says_who_set_what(capsys):
    with arg_scope([op], stride=2, padding=torch.relu):
        outer = here()
        with arg_scope([op], stride=3, size=5):
            inner = here()
            table = explain_arg_scope(op)
    assert capsys.readouterr().out == table + "\n"
    file, _, line = outer.rpartition(":")
    rows = {row[0]: row[1:] for row in map(str.split, table.splitlines())}
    set_by_outer, set_by_inner = f"{file}:{int(line) - 1}", f"{file}:{int(inner.rpartition(':')[2]) - 1}"
    assert rows == {
        "op": [],
        "stride": ["3", set_by_inner],
        "padding": ["relu", set_by_outer],
        "rate": ["1", "default"],
        "size": ["5", set_by_inner],
    }


def test_explain_an_op_with_nothing_to_say():
    assert explain_arg_scope(open_op) == "open_op"


def test_captured_scope_prints_what_it_sets():
    with arg_scope([op], stride=2) as captured:
        pass
    assert re.fullmatch(r"ArgScope\(.*\.op: stride=2 \(set at .*test_arg_scope\.py:\d+\)\)", repr(captured))


# Who sees it


def test_threads_do_not_see_each_others_scopes():
    seen = {}
    entered = threading.Barrier(2, timeout=10)

    def work(stride):
        with arg_scope([op], stride=stride):
            entered.wait()
            seen[stride] = op(0, 3)["stride"]
            entered.wait()

    with arg_scope([op], stride=99):
        threads = [threading.Thread(target=work, args=(stride,)) for stride in (2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert op(0, 3)["stride"] == 99
    assert seen == {2: 2, 3: 3}


def test_asyncio_tasks_do_not_see_each_others_scopes():
    async def work(stride):
        inherited = op(0, 3)["stride"]
        with arg_scope([op], stride=stride):
            await asyncio.sleep(0)
            return inherited, op(0, 3)["stride"]

    async def both():
        with arg_scope([op], stride=9):
            results = await asyncio.gather(work(2), work(3))
            return [*results, op(0, 3)["stride"]]

    assert asyncio.run(both()) == [(9, 2), (9, 3), 9]
