"""The style sheet of the report page, light and dark."""

STYLE = """
:root {
  --page:#f6f7f9; --card:#ffffff; --ink:#1b2027; --soft:#5b6672; --line:#dfe3e8; --grid:#eaedf1; --accent:#0f6fde;
  --best:#e6f4ea; --best-ink:#146c37;
  --series-0:#1769d2; --series-1:#d9600a; --series-2:#15875a; --series-3:#a8327f; --series-4:#6a55d8; --series-5:#6f7782;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page:#14171b; --card:#1d2126; --ink:#e8ebee; --soft:#9aa5b1; --line:#343b43; --grid:#2a3037; --accent:#6db0ff;
  --best:#1c3a28; --best-ink:#84dca6;
    --series-0:#6db0ff; --series-1:#ffa257; --series-2:#5ccf9c; --series-3:#ee8bcb; --series-4:#b3a5ff; --series-5:#a9b2bc;
  }
}
* { box-sizing:border-box }
body { margin:0; background:var(--page); color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif }
main { max-width:1120px; margin:0 auto; padding:40px 24px 64px }
header { margin-bottom:28px }
h1 { font-size:30px; line-height:1.2; letter-spacing:-.015em; margin:0 0 8px }
h2 { font-size:19px; letter-spacing:-.005em; margin:0 0 12px }
section { margin-top:40px }
figure { margin:0 }
.lead { margin:0; color:var(--soft); max-width:76ch }
.note, figcaption { color:var(--soft); font-size:14px }
.note { margin:10px 0 0; max-width:90ch }
.card { background:var(--card); border:1px solid var(--line); border-radius:10px }
.scroll { overflow-x:auto }
.headline { display:grid; grid-template-columns:repeat(auto-fit,minmax(190px,1fr)); gap:1px; margin:0; background:var(--line);
  border:1px solid var(--line); border-radius:10px; overflow:hidden }
.headline div { background:var(--card); padding:14px 18px }
.headline dt { color:var(--soft); font-size:13.5px }
.headline dd { margin:2px 0 0; font-size:23px; font-weight:600; font-variant-numeric:tabular-nums; letter-spacing:-.01em }
.video video { display:block; width:100%; max-width:1024px; margin:0 auto; border-radius:10px; background:#000 }
.video figcaption { margin-top:10px; text-align:center }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums }
thead th { text-align:right; font-size:14px; font-weight:600; padding:12px 14px 10px;
  border-bottom:1px solid var(--line); vertical-align:bottom }
thead th:first-child, tbody th { text-align:left }
tbody th { font-weight:500; padding:10px 14px 10px 18px; min-width:190px }
tbody td { text-align:right; padding:10px 14px }
tbody tr + tr > * { border-top:1px solid var(--grid) }
.unit { display:block; color:var(--soft); font-weight:400; font-size:12.5px; white-space:nowrap }
tbody th .unit { white-space:normal; font-size:13px }
tr.reference > * { color:var(--soft) }
td.best { background:var(--best); color:var(--best-ink); font-weight:600 }
.meanings { display:grid; grid-template-columns:max-content 1fr; gap:3px 16px; margin:12px 0 0; font-size:14px }
.meanings dt { font-weight:600 }
.meanings dd { margin:0; color:var(--soft) }
.strip { width:auto }
.strip th { font-size:13.5px; font-weight:500; color:var(--soft); text-align:center; padding:8px 6px 4px; min-width:0 }
.strip th[scope=row] { text-align:left; color:var(--ink); padding:0 14px 0 18px; min-width:110px }
.strip td { padding:4px; border:0 !important }
.strip th { border:0 !important }
.strip td:last-child { padding-right:14px }
.strip tr:last-child td { padding-bottom:14px }
.strip img { display:block; width:132px; border-radius:6px; background:var(--grid) }
.charts { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr)); gap:20px }
.chart { padding:16px 16px 12px }
.chart figcaption { color:var(--ink); font-weight:600; font-size:15px }
.legend { display:flex; flex-wrap:wrap; gap:2px 16px; margin:4px 0 8px; font-size:13px; color:var(--soft) }
.key::before { content:""; display:inline-block; width:18px; border-top:2.5px solid var(--color); vertical-align:middle; margin-right:6px }
.key.dashed::before { border-top-style:dashed }
.empty { color:var(--soft); padding:60px 0; text-align:center }
svg { display:block; width:100%; height:auto }
svg text { fill:var(--soft); font-size:12px; font-variant-numeric:tabular-nums }
svg .label { font-size:12.5px }
svg .grid { stroke:var(--grid) }
svg .axis, svg .tick { stroke:var(--line) }
svg .line { fill:none; stroke-width:2; stroke-linejoin:round }
svg .raw { fill:none; stroke-width:1; opacity:.28 }
.facts { display:grid; grid-template-columns:repeat(auto-fit,minmax(230px,1fr)); gap:14px 24px; margin:0; padding:18px }
.facts dt { color:var(--soft); font-size:13px }
.facts dd { margin:0; font-size:14.5px; overflow-wrap:anywhere }
@media (max-width:560px) { .meanings { grid-template-columns:1fr } .meanings dd { margin-bottom:6px } main { padding:24px 14px 48px } }
@media print { body { background:#fff } .card, .chart { break-inside:avoid } }
""".strip()
