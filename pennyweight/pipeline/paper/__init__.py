"""A paper, as its reader sees it: PDF, Markdown, HTML or text → pages of running text, ready to be quoted by page."""
