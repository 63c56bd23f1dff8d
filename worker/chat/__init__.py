"""Chat templates: from messages to the prompt a model was trained on."""
