"""The hand on Gajim's D-Bus interface, for the system's Python, which has what Gajim needs of GLib.

The argument is the account. It prints JSON lines: ["online"] once it is, [sender, body] for each message; it reads
[to, body] and sends that.
"""

import json
import sys

from gi.repository import Gio, GLib

NAME, PATH, INTERFACE = "org.gajim.Gajim", "/org/gajim/dbus/RemoteObject", "org.gajim.dbus.RemoteInterface"
account = sys.argv[1]
bus = Gio.bus_get_sync(Gio.BusType.SESSION, None)
told = False


def tell(*what):
    print(json.dumps(what), flush=True)


def call(method, *arguments):
    return bus.call_sync(
        NAME, PATH, INTERFACE, method, GLib.Variant(f"({'s' * len(arguments)})", arguments), None, 0, 10_000, None
    )


def on_signal(_bus, _sender, _path, _interface, signal, parameters):
    if signal == "NewMessage":
        _, message = parameters.unpack()[0]
        tell(message[0], message[1])


def goes_online():
    """Tells Gajim to connect as soon as it is on the bus, when this program hears already, and says when it has."""
    global told
    try:
        if not told:
            told = call("change_status", "online", "", account).unpack()[0]
        if call("get_status", account).unpack()[0] != "online":
            return True
    except GLib.Error:
        return True
    tell("online")
    return False


def on_input(channel, _condition):
    line = channel.readline()
    if not line:
        loop.quit()
        return False
    to, body = json.loads(line)
    call("send_chat_message", to, body, account)
    return True


loop = GLib.MainLoop()
bus.signal_subscribe(None, INTERFACE, None, PATH, None, 0, on_signal)
GLib.timeout_add(100, goes_online)
GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, on_input)
loop.run()
