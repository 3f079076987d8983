"""Moving in: what other stores of LangGraph threads hold, brought over as it is."""
