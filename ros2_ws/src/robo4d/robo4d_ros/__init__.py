"""The ROS 2 nodes of Robo4D: message in, core call, message out."""
