"""What past runs of tiny models, recipes and a smaller proxy are worth on a language model."""
