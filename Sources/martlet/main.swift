Martlet.start()
