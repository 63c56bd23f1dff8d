"""The files a run leaves behind: JSON, JUnit, Markdown, HTML."""
