"""The simulated cell behind the topics, services and actions of real robots and cameras."""
