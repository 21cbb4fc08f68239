"""The few pages that the front door shows itself: plain HTML that loads nothing."""

from html import escape

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

_ONWARD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Makerflow</title><meta http-equiv="refresh" content="0;url={target}">
<p><a href="{target}">Go on</a></p>
</html>
"""

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 30rem; margin: 15vh auto; padding: 0 1rem; color: #222 }}
input, button {{ font: inherit; padding: .4rem .6rem; width: 100%; box-sizing: border-box; margin-top: .6rem }}
code {{ background: #eee; padding: 0 .2rem }}
</style>
<h1>{title}</h1>
{body}
</html>
"""

_FORM = """<p>{message}</p>
<form method="post" action="{action}">
<input type="hidden" name="next" value="{next}">
<label>Access string or token
<input type="password" name="secret" autocomplete="current-password" autofocus required></label>
<button>Enter</button>
</form>
<p><small>The token of this installation is in the file <code>up/token</code> of its home; commands such as
<code>makerflow experiment tensorboard NAME</code> open pages without it.</small></p>
"""


def sign_in_page(action: str, target: str, message: str) -> str:
    """The page that asks for the access string or the token, and goes on to `target`."""
    form = _FORM.format(action=escape(action), next=escape(target), message=escape(message))
    return _PAGE.format(title="Makerflow", body=form)


def message_page(title: str, message: str) -> str:
    """A page that says something."""
    return _PAGE.format(title=escape(title), body=f"<p>{escape(message)}</p>")


def onward_page(target: str) -> str:
    """The page that has the browser open `target` at once."""
    return _ONWARD.format(target=escape(target))
