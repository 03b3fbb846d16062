await Martlet.start()
