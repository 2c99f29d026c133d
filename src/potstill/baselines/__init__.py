"""The cheapest floor: the majority, and TF-IDF with a linear model on the gold rows. A student that is no better is not worth its teacher."""
