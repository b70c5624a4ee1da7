import sys, os, datetime
sys.path.insert(0,'/tmp/y6')
import pytest, httpx
from playwright.sync_api import sync_playwright
from tests.desk import *
from mailer import settings
from mailer.issues import leaving
def test_shoot(installation, monkeypatch):
    out='/tmp/w/shots_d'; os.makedirs(out,exist_ok=True)
    with running_desk(monkeypatch) as site:
        sign_in(site.client); speak(os.environ.get("L","fr"))
        i=drafted('eau','train','aral','samarcande','bichkek', reader_count=8)
        trials_id=i
        from mailer.issues import trials
        site.client.get('/admin')
        press(site.client, f'/admin/issues/{i}/test', f'/admin/issues/{i}/test', addresses='camille@courrier.example')
        with transaction() as s:
            n=newsletters.get(s,'courrier'); newsletters.schedule(s,n,cron='0 7 * * 5',timezone='Europe/Paris',now=clock.now(),since=clock.now())
            n.needs_approval=True
        press(site.client, f'/admin/issues/{i}', f'/admin/issues/{i}/articles', article=article_id('aral'), act='layout', layout='brief')
        r=press(site.client, f'/admin/issues/{i}', f'/admin/issues/{i}/articles', article=article_id('train'), act='exclude')
        pages={'compose':r.headers['location'],'review':f'/admin/issues/{i}/review','test':f'/admin/issues/{i}/test','schedule':'/admin/newsletters/courrier','search':'/admin/search?q=e','keys':'/admin/keys'}
        with sync_playwright() as p:
            b=p.chromium.launch(executable_path='/usr/bin/chromium',args=['--no-sandbox'])
            c=b.new_context(viewport={'width':1200,'height':900})
            c.add_cookies([{"name":k,"value":v,"url":site.url} for k,v in site.client.cookies.items()])
            pg=c.new_page()
            pg.on('console', lambda m: print('CONSOLE',m.type,m.text))
            def shoot(name,u):
                for w,d in ((1200,False),(390,False),(1200,True)):
                    pg.set_viewport_size({'width':w,'height':900}); pg.emulate_media(color_scheme='dark' if d else 'light')
                    pg.goto(site.url+u); pg.wait_for_timeout(300)
                    sw=pg.evaluate('document.documentElement.scrollWidth')
                    if sw>w: print('WIDE',name,w,sw)
                    pg.screenshot(path=f'{out}/{name}-{w}{"d" if d else ""}.png',full_page=True)
            for n,u in pages.items(): shoot(n,u)
            monkeypatch.setenv("MAILER_UNDO_SECONDS","60"); settings.load.cache_clear()
            with transaction() as s:
                leaving.leave(s, issues.get(s,i), now=clock.now())
            shoot('leaving',f'/admin/issues/{i}')
            b.close()
