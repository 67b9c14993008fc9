"""What relocation buys: closed forms, the simulator, the paper's figures and the planner."""
