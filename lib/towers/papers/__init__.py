"""What each paper set and did: its sizes, its runs, what they would take; core never imports it."""
