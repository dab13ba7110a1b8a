// The report's style sheet: one column on a phone, two of figures on a desk, ink on paper in print.
import { formatColourRules } from './theme.ts';

export function formatStyle(): string {
  return `${formatColourRules()}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 24px 64px}
header h1{font-size:30px;line-height:1.2;margin:2px 0 6px;letter-spacing:-.01em;overflow-wrap:anywhere}
.eyebrow{color:var(--accent);font-weight:600;font-size:14px;margin:0}
.warning{border-left:4px solid var(--ink);padding:4px 12px;margin:0 0 16px;max-width:72ch;overflow-wrap:anywhere}
.lead{color:var(--soft);margin:0 0 20px;max-width:72ch;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:14px;margin:0 0 12px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;min-width:0}
.tile b{display:block;font-size:28px;line-height:1.15;font-weight:650;font-variant-numeric:tabular-nums;letter-spacing:-.01em}
.tile span{display:block;font-size:14px;font-weight:600}
.tile small{display:block;color:var(--soft);font-size:13px;line-height:1.4;margin-top:4px}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:18px 0 0;font-size:14px}
a{color:var(--accent);text-underline-offset:3px}
h2{font-size:21px;margin:40px 0 14px;letter-spacing:-.005em}
h3{font-size:16px;margin:0 0 4px}
.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px;align-items:start}
.grid>:only-child{grid-column:1/-1;max-width:600px}
figure,.panel{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;min-width:0}
figcaption p{color:var(--soft);font-size:14px;line-height:1.45;margin:0 0 10px}
svg{display:block;max-width:100%;height:auto;overflow:visible;border-radius:4px}
svg text{white-space:pre}
svg:focus-visible,.scroll:focus-visible,pre:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
.grid.tall>:first-child{grid-row:span 2}
.narrow{display:none}
.tips>*{cursor:crosshair}
.tips>.at{stroke:var(--series-2);stroke-width:2.5px}
.bands>.at{stroke:none;fill-opacity:.09}
.panels{display:grid;gap:16px;margin-top:16px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;min-width:min(100%,420px);font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:6px 26px 6px 0;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap;vertical-align:top}
td.text:last-child{white-space:normal;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600}
.number{text-align:right}
tbody tr:last-child td{border-bottom:0}
summary{cursor:pointer;font-weight:600}
details .scroll{margin-top:10px}
pre{margin:8px 0 0;padding:12px 14px;background:var(--page);border:1px solid var(--line);border-radius:8px;font-size:13.5px;white-space:pre-wrap;overflow-wrap:anywhere}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.missing{margin:40px 0 0;padding:0;list-style:none;color:var(--soft);font-size:14px}
.missing li{padding:8px 0;border-top:1px solid var(--line);overflow-wrap:anywhere}
.missing b{color:var(--ink)}
#tip{position:absolute;z-index:2;pointer-events:none;max-width:min(300px,80vw);background:var(--ink);color:var(--card);font-size:13px;line-height:1.35;padding:6px 9px;border-radius:6px}
#tip[hidden]{display:none}
.silent{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media (max-width:900px){.grid{grid-template-columns:minmax(0,1fr)}.grid.tall>:first-child{grid-row:auto}.tiles{grid-template-columns:repeat(2,minmax(0,1fr))}}
@media (max-width:560px){
main{padding:18px 16px 48px}header h1{font-size:25px}.tiles{gap:10px}.tile{padding:12px}.tile b{font-size:23px}
figure,.panel{padding:14px 15px}.wide{display:none}.narrow{display:block}h2{margin-top:32px}
}
@media print{
body{background:none;font-size:10.5pt}main{max-width:none;padding:0}nav,#tip{display:none}
figure,.panel,.tile{break-inside:avoid;border-color:#bbb}h2{break-after:avoid}
.grid{grid-template-columns:repeat(2,minmax(0,1fr))}.wide{display:block}.narrow{display:none}.scroll{overflow:visible}td,th{white-space:normal}
}`;
}
