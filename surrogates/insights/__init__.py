"""What a history says of hyperparameters: importance, rules of thumb, agreement of model sizes."""
