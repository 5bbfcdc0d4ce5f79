from headgate.engine.h3.budget import Budget


def test_a_budget_and_one_more():
    budget = Budget(3, 10.0)
    assert [budget.spend(5.0) for _ in range(4)] == [True, True, True, False]
    assert budget.spend(14.9) is False
    assert budget.spend(15.0) is True


def test_what_is_earned_may_be_spent_until_the_window_ends():
    budget = Budget(1, 10.0)
    assert budget.spend(0.0)
    budget.earn(2)
    assert [budget.spend(1.0) for _ in range(3)] == [True, True, False]
    assert [budget.spend(11.0) for _ in range(2)] == [True, False]
    assert repr(budget) == "<Budget -1/1>"
