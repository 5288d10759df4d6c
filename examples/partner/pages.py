"""Every word that a browser is sent (templates, in a larger app). Nothing of a request is ever put in."""
import base64
import hashlib
from typing import NamedTuple

LINK = "/ring/link"
NAME = "Example Partner"

WHAT = f"""
<p>The Ring account that you come from will be linked to <strong>the account you sign in
with</strong> at {NAME}. You are asked to sign in even if you are signed in already.</p>
<p>Go on only if you have just begun this in the Ring app yourself. If somebody sent you here, close this page.</p>
"""
SIGN_IN = f"""
<form method="post" action="{LINK}">
<input type="hidden" name="token" value="%s">
<label for="user">User name</label>
<input id="user" name="user" autocomplete="username" autocapitalize="none" spellcheck="false" required>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button>Sign in and link</button>
</form>
"""
AGAIN = f"""
<form method="post" action="{LINK}">
<input type="hidden" name="token" value="%s">
<button>Look again</button>
</form>
"""
BACK = "<p>Return to the Ring app to go on.</p>"
ANEW = "<p>Return to the Ring app and start again there.</p>"
START = "<p>To link a Ring account, start in the Ring app.</p>"


class Page(NamedTuple):
    status: int
    title: str
    words: str
    form: str = ""


# What each outcome of a claim at ringhookd becomes.
OUTCOMES = {
    "linked": Page(200, "Your Ring account is linked", BACK),
    "already_linked": Page(200, "Your Ring account is linked already", BACK),
    "pending": Page(
        202,
        "Your Ring account is being linked",
        """<p>Ring takes longer than usual. This goes on by itself: return to the Ring app, or look again in a
        moment.</p>""",
        AGAIN,
    ),
    "no_match": Page(
        404,
        "Ring has not told us of your account yet",
        """<p>Look again in a few seconds. If that does not help, return to the Ring app and start again
        there.</p>""",
        AGAIN,
    ),
    "linked_to_another_user": Page(
        409,
        "Somebody else has linked this Ring account",
        f"<p>It stays linked to another account at {NAME}. Return to the Ring app.</p>",
    ),
    "expired": Page(410, "This link is too old", "<p>Links are good for ten minutes.</p>" + ANEW),
    "refused": Page(422, "Ring has refused the link", "<p>Your Ring account is not linked.</p>" + ANEW),
}
PAGES = {
    **OUTCOMES,
    "sign_in": Page(200, "Link your Ring account", WHAT, SIGN_IN),
    "wrong": Page(
        403,
        "Wrong user name or password",
        '<p role="alert">Nothing is linked yet. Try again.</p>' + WHAT,
        SIGN_IN,
    ),
    "too_often": Page(429, "Too many tries", "<p>This page is of no more use.</p>" + ANEW),
    "out_of_date": Page(
        403,
        "This page is out of date",
        """<p>Return to the Ring app: it shows whether your account is linked. If it is not, start again
        there.</p>""",
    ),
    "bad_link": Page(400, "This link is not complete", ANEW),
    "busy": Page(
        503,
        "We can't tell yet whether your account is linked",
        """<p>Look again in a minute. If that does not help, return to the Ring app and start again there.</p>""",
        AGAIN,
    ),
    "fault": Page(
        500,
        "Something is wrong on our side",
        "<p>It was not your doing. Return to the Ring app, and try it another time.</p>",
    ),
    "no_page": Page(404, "There is no such page", START),
    "bad_request": Page(400, "We can't answer this", START),
}

STYLE = """
body { margin: 0; background: #f4f5f7; color: #1b1f24; font: 1.0625rem/1.5 system-ui, sans-serif }
main { box-sizing: border-box; max-width: 28rem; margin: 6vh auto; padding: 1.5rem 2rem 2rem;
  background: #fff; border-radius: .75rem }
h1 { margin-top: 0; font-size: 1.5rem; line-height: 1.25 }
label { display: block; margin-top: 1rem; font-weight: 600 }
[role=alert] { color: #a4133c; font-weight: 600 }
input, button { box-sizing: border-box; width: 100%; padding: .7rem; border: 1px solid #6b7280;
  border-radius: .4rem; font: inherit }
button { margin-top: 1.5rem; border-color: #0b5394; background: #0b5394; color: #fff; font-weight: 600 }
:focus-visible { outline: 3px solid #b45309; outline-offset: 2px }
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%s - %s</title>
<style>%s</style>
</head>
<body><main>
<h1>%s</h1>
%s
</main></body>
</html>
"""
HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{HASH}'; form-action 'self';"
                               " frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}


def html(name, token=None):
    """The page as HTML; without a token for its form, without the form."""
    page = PAGES[name]
    form = page.form % token if page.form and token else ""
    return PAGE % (page.title, NAME, STYLE, page.title, page.words + form)
