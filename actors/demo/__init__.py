"""
The demo: a front desk and its specialists, over real facts that ship with it.

- `greenroom.actors.demo.facts`: planets, mountains and elements in SQLite, their sources named
- `greenroom.actors.demo.calculator`: arithmetic, within bounds
- `greenroom.actors.demo.library`: full-text search over this project's documentation
- `greenroom.actors.demo.cast`: who plays in the demo: names, instructions, tools
"""
