"""The rules of the decision, as sentences, on invented models and cards; and what must hold of any of them."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.planner.candidate import Candidate, Choice
from pennyweight.planner.changes import changes
from pennyweight.planner.decide import decide
from pennyweight.planner.ladder import BEST_FIRST, SPARE_BYTES, Rule, Wish, preferences
from tests.planner.invented import BIG, BITS, FAMILY, MIDDLE, SMALL, Model, card, options

LONG, SHORT = 32_768, 4096
F16 = (("F16", "F16"),)


def choose(memory_gb: float, *models: Model, **wish):
    wanted = Wish(**({"context": SHORT} | wish))
    return decide(options(*(models or FAMILY)), wanted, card(memory_gb, *(models or FAMILY)))


def chosen(memory_gb: float, *models: Model, **wish) -> tuple[str, str, str] | None:
    found = choose(memory_gb, *models, **wish).chosen
    return found and (found.choice.model, found.choice.type, found.choice.key_type)


def test_the_largest_model_whose_q4_k_m_fits_with_a_gigabyte_to_spare_is_chosen() -> None:
    assert chosen(12) == ("Big-14B", "Q4_K_M", "F16")
    assert chosen(9) == ("Middle-8B", "Q4_K_M", "F16")


def test_a_fit_with_less_than_a_gigabyte_to_spare_is_no_comfortable_fit() -> None:
    # Big: 8.49 weights + 0.66 cache + 0.6 overhead = 9.75; with 1 to spare 10.75 GB; its working space is in the 1.
    assert chosen(10.76, BIG, MIDDLE) == ("Big-14B", "Q4_K_M", "F16")
    assert chosen(10.74, BIG, MIDDLE) != ("Big-14B", "Q4_K_M", "F16")


def test_accuracy_sensitive_work_takes_q6_k_or_q5_k_m_where_there_is_room() -> None:
    assert chosen(24, BIG, accurate=True) == ("Big-14B", "Q6_K", "F16")
    assert chosen(13, BIG, accurate=True) == ("Big-14B", "Q5_K_M", "F16")
    assert chosen(24, BIG, accurate=False) == ("Big-14B", "Q4_K_M", "F16")


def test_a_larger_model_comes_before_more_bits() -> None:
    assert chosen(12, accurate=True) == ("Big-14B", "Q4_K_M", "F16")


def test_a_smaller_cache_is_taken_when_the_context_is_what_does_not_fit() -> None:
    assert chosen(13.5, BIG, MIDDLE, context=LONG) == ("Big-14B", "Q4_K_M", "Q8_0")
    assert "cache buys memory, not speed" in " ".join(choose(13.5, BIG, MIDDLE, context=LONG).reasons)


def test_a_cache_that_was_asked_for_stays() -> None:
    found = choose(13.5, BIG, MIDDLE, context=LONG, caches=F16)
    assert found.chosen is not None
    assert found.chosen.choice.key_type == "F16"
    assert found.chosen.choice.model == "Middle-8B"


def test_iq4_xs_comes_before_q3() -> None:
    assert chosen(10.1, BIG)[1] == "IQ4_XS"


def test_a_smaller_model_comes_before_fewer_bits() -> None:
    assert chosen(8.6, BIG, MIDDLE)[:2] == ("Middle-8B", "Q4_K_M")
    assert chosen(8.6, BIG)[1].startswith("Q3")


def test_q3_and_below_are_called_an_emergency_and_name_the_way_out() -> None:
    found = choose(8.4, BIG)
    assert found.rule == Rule.EMERGENCY
    assert "emergency" in found.reasons[0]
    assert "hadamard+gptq" in found.reasons[0]


def test_reasons_show_the_budget_and_what_the_next_step_lacks() -> None:
    text = " ".join(choose(9).reasons)
    assert "Budget: 8.38 of memory" in text  # GiB of 9 GB
    assert "Big-14B Q4_K_M" in text
    assert "a smaller model comes before fewer bits" in text


def test_types_that_were_asked_for_are_the_only_ones() -> None:
    asked = [Model("Big-14B", 14, types=("Q8_0", "Q6_K"))]
    assert chosen(24, *asked, types_given=True)[1] == "Q8_0"
    assert chosen(14, *asked, types_given=True)[1] == "Q6_K"
    assert chosen(9, *asked, types_given=True) is None


def test_a_file_that_exists_in_one_type_is_chosen_in_that_type() -> None:
    assert chosen(24, Model("a.gguf", 14, types=("Q3_K_M",)))[1] == "Q3_K_M"
    assert chosen(24, Model("b.gguf", 14, types=("MXFP4",)))[1] == "MXFP4"


def test_experts_go_to_the_host_before_bits_go_below_four() -> None:
    model = replace(Model("Expert-30B", 30).option, experts=True)
    on_card = card(12, Model("Expert-30B", 30))

    def evaluate(choice: Choice) -> Candidate:
        found = on_card(replace(choice, experts_on_host=False))
        return replace(found, choice=choice, fits=found.fits or choice.experts_on_host, total_bytes=found.kv_bytes)

    found = decide([model], Wish(context=SHORT), evaluate)
    assert found.rule == Rule.EXPERTS_ON_HOST
    assert found.chosen is not None
    assert found.chosen.choice.type == "Q4_K_M"
    assert "on the host" in found.reasons[0]
    assert decide([model], Wish(context=SHORT), on_card).chosen is None  # without the host it would not fit at all


def test_a_tight_fit_must_hold_at_the_upper_end_of_its_range() -> None:
    evaluate = card(8.0, MIDDLE)

    def uncertain(choice: Choice) -> Candidate:
        found = evaluate(choice)
        return replace(found, total_bytes=replace(found.total_bytes, high=found.memory_bytes + 1))

    assert decide(options(MIDDLE), Wish(context=SHORT), evaluate).chosen is not None
    assert decide(options(MIDDLE), Wish(context=SHORT), uncertain).chosen is None


def test_nothing_fits_says_context_cache_model_and_offload() -> None:
    evaluate = card(10, *FAMILY)
    wish = Wish(context=131_072, caches=F16)
    assert decide(options(BIG), wish, evaluate).chosen is None
    found = changes(options(BIG), wish, evaluate, options(SMALL))
    kinds = {change.kind: change for change in found}
    assert kinds["context"].candidate.fits
    assert kinds["context"].candidate.choice.context < 131_072
    assert kinds["offload"].candidate.layers_on_gpu < kinds["offload"].candidate.layers
    assert "tokens/s" in kinds["offload"].sentence


def test_the_next_model_offered_is_the_largest_smaller_one_that_fits() -> None:
    wish = Wish(context=SHORT, caches=F16)
    found = changes(options(BIG), wish, card(7, *FAMILY), options(MIDDLE, SMALL))
    assert next(change for change in found if change.kind == "model").candidate.choice.model == "Middle-8B"


def test_the_longest_context_offered_fits_and_the_next_does_not() -> None:
    wish, evaluate = Wish(context=131_072, caches=F16), card(11, BIG)
    change = next(c for c in changes(options(BIG), wish, evaluate) if c.kind == "context")
    tokens = change.candidate.choice.context
    assert evaluate(change.candidate.choice).fits
    longer = type(change.candidate.choice)(**{**_fields(change.candidate.choice), "context": tokens + 1024})
    assert not evaluate(longer).fits


def _fields(choice) -> dict[str, object]:
    return {name: getattr(choice, name) for name in ("model", "type", "key_type", "value_type", "context")}


memories = st.floats(2, 64)
contexts = st.sampled_from([2048, 8192, 32_768, 131_072])
families = st.lists(
    st.builds(Model, name=st.uuids().map(str), billions=st.floats(0.5, 40), cache_kb=st.floats(20, 300)),
    min_size=1,
    max_size=4,
    unique_by=lambda model: model.billions,
)


@settings(max_examples=50, deadline=None)
@given(memory=memories, context=contexts, family=families, accurate=st.booleans())
def test_what_is_chosen_always_fits(memory, context, family, accurate) -> None:
    found = choose(memory, *family, context=context, accurate=accurate).chosen
    if found:
        assert found.fits
        assert found.total_bytes.value <= found.memory_bytes


@settings(max_examples=50, deadline=None)
@given(memory=memories, more=st.floats(0, 32), context=contexts, family=families, accurate=st.booleans())
def test_a_larger_card_never_gets_a_worse_choice(memory, more, context, family, accurate) -> None:
    wish = Wish(context=context, accurate=accurate)
    places = [preference.choice for preference in preferences(options(*family), wish)]
    small = decide(options(*family), wish, card(memory, *family)).chosen
    large = decide(options(*family), wish, card(memory + more, *family)).chosen
    if small:
        assert large is not None
        assert places.index(large.choice) <= places.index(small.choice)


@settings(max_examples=50, deadline=None)
@given(memory=memories, context=contexts, family=families)
def test_never_fewer_than_four_bits_while_a_smaller_model_fits_at_four(memory, context, family) -> None:
    found = choose(memory, *family, context=context).chosen
    if found and BITS[found.choice.type] < 4:
        evaluate = card(memory, *family)
        for preference in preferences(options(*family), Wish(context=context)):
            if BITS[preference.choice.type] > 4 and preference.spare_bytes == 0:
                assert not evaluate(preference.choice).fits


@settings(max_examples=20, deadline=None)
@given(family=families, context=contexts)
def test_no_place_in_the_list_asks_for_more_than_the_rule_of_thumb(family, context) -> None:
    for preference in preferences(options(*family), Wish(context=context, accurate=True)):
        assert preference.spare_bytes in (0, SPARE_BYTES)
        assert preference.choice.type in BEST_FIRST
