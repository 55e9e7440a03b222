"""The ROS face of the executor: what it hears from arms and operator, and how it commands controllers and grippers."""
