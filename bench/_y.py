import asyncio, sys, time
from sqlalchemy import event
from app.clock import SystemClock
from app.store.engine import Database
from bench.scale_lists import cases
from bench.scale import filled, address
from pathlib import Path
async def main(url, n, only, plans):
    async with filled(url, n) as (db, now):
        async with db.read() as c: every = await cases(c, n, now)
        said = []
        for e in db.engines: event.listen(e.sync_engine, "before_cursor_execute", lambda _c, _k, s, p, *m: said.append((s, p)))
        for case in every:
            name = f"{case.list} {case.filter} {case.place}"
            if only and only not in name: continue
            took = []
            err = ""
            for _ in range(3):
                b = time.perf_counter(); said.clear()
                try:
                    async with db.read() as c: r = await case.ask(c)
                except Exception as x: err = repr(x)[:80]; took.append(time.perf_counter()-b); break
                took.append(time.perf_counter()-b)
            if min(took) > .015 or err or plans:
                print(f"{min(took)*1000:8.1f} {name} {err}", flush=True)
                if plans:
                    for s, p in list(said):
                        print("   --", s.replace("\n"," ")[-plans:])
                        async with db.read() as c:
                            ex = "EXPLAIN ANALYZE " if not db.is_sqlite else "EXPLAIN QUERY PLAN "
                            for r in (await c.exec_driver_sql(ex + s, p)).all(): print("      ", str(r[-1] if db.is_sqlite else r[0])[:250])
n = int(sys.argv[2])
with address(sys.argv[1], n, Path(sys.argv[3])) as url: asyncio.run(main(url, n, sys.argv[4] if len(sys.argv)>4 else "", int(sys.argv[5]) if len(sys.argv)>5 else 0))
