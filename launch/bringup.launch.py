"""ros2 launch robo4d bringup.launch.py"""
