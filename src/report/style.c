/* style.c - the one style sheet of every report: light and dark by the reader's setting, and paper. */
#include "report/page.h"

/* Lines, NULL-ended: one string of the whole would be longer than C promises to take. */
const char *const report_style[] = {
    ":root{--ink:#1c2330;--soft:#5b6472;--faint:#8a93a1;--line:#d9dee6;--paper:#fff;--wash:#f4f6f9;--blue:#"
    "1f5fbf;--grey:#8a6d3b;"
    "--good:#18794e;--bad:#b42318;--unsure:#8a5a00;--c0:#1f5fbf;--c1:#b4540a;--c2:#18794e;--c3:#8e3ca8;--on:#"
    "fff}\n",
    "@media "
    "(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#a5aebb;--faint:#7b8594;--line:#343c48;--paper:#"
    "14181f;"
    "--wash:#1c222b;--blue:#7fb0ff;--grey:#d2a866;--good:#5fd09a;--bad:#ff8d80;--unsure:#e6b54a;--c0:#7fb0ff;"
    "--c1:#ffab66;"
    "--c2:#5fd09a;--c3:#dd9df2;--on:#10141a}}\n",
    "*{box-sizing:border-box}\n",
    "body{margin:0;overflow-wrap:anywhere;background:var(--paper);color:var(--ink);font:16px/1.5 "
    "system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif}\n",
    "main{max-width:60rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}\n",
    "h1{font-size:1.75rem;line-height:1.2;margin:.5rem 0 .25rem}h2{font-size:1.25rem;margin:0 0 "
    ".5rem}h3{font-size:1rem;margin:1.25rem 0 .25rem}\n",
    ".sub{color:var(--soft);margin:0 0 1rem;font-size:1.05rem}\n",
    "nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem;border-block:1px solid var(--line);padding:.5rem "
    "0;margin:1rem 0;font-size:.9rem}\n",
    "a{color:var(--blue)}nav a{text-decoration:none}nav a:hover{text-decoration:underline}\n",
    "section{margin:2.25rem 0}\np{margin:.5rem "
    "0;max-width:46rem}\n.note{color:var(--soft);font-size:.875rem}\n",
    ".mono,pre{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.85em}\n",
    "pre,.words{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}\npre{background:var(--wash)"
    ";padding:.75rem;border-radius:6px}\n",
    ".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.75rem;margin:1rem "
    "0}\n",
    ".figure{background:var(--wash);border-radius:8px;padding:.8rem 1rem;border-top:3px solid var(--line)}\n",
    ".figure .label{color:var(--soft);font-size:.875rem}.figure "
    ".value{font-size:1.6rem;font-weight:650;line-height:1.25}\n",
    ".figure .detail{font-size:.85rem;color:var(--soft)}\n",
    ".good{border-color:var(--good)}.good .value{color:var(--good)}.bad{border-color:var(--bad)}.bad "
    ".value{color:var(--bad)}"
    ".unsure{border-color:var(--unsure)}.unsure .value{color:var(--unsure)}\n",
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.25rem;margin:.75rem "
    "0}dt{color:var(--soft)}"
    "dd{margin:0;overflow-wrap:anywhere}\n",
    ".scroll{overflow-x:auto;margin:.75rem 0}\n",
    "table{border-collapse:collapse;overflow-wrap:normal;font-size:.92rem;font-variant-numeric:tabular-nums}"
    "caption{text-align:left;color:var(--soft);padding-bottom:.3rem}\n",
    "th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid "
    "var(--line);vertical-align:top}"
    "th{font-weight:600;color:var(--soft)}.r{text-align:right}tbody tr:last-child td{border-bottom:0}\n",
    "details{margin:.5rem 0}summary{cursor:pointer;color:var(--blue)}.harm "
    "summary{color:var(--bad);font-size:.9rem}\n",
    "article{border:1px solid var(--line);border-radius:8px;padding:.75rem 1rem;margin:.75rem "
    "0;break-inside:avoid}\n",
    ".answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr));gap:.75rem "
    "1.25rem;margin-top:.6rem}\n",
    ".answer{border-top:2px solid "
    "var(--line);padding-top:.4rem;min-width:0}.answer:last-child{border-color:var(--blue)}\n",
    ".who{font-size:.8rem;font-weight:600;color:var(--soft)}.tag{font-weight:400;background:var(--wash);"
    "padding:.05rem .4rem;border-radius:4px}\n",
    "figure{margin:1rem 0;break-inside:avoid}figcaption{font-weight:600;margin-bottom:.35rem}\n",
    "svg{display:block;width:100%;height:auto;font:12px system-ui,-apple-system,\"Segoe "
    "UI\",Roboto,sans-serif;"
    "font-variant-numeric:tabular-nums}\n",
    "svg text{fill:var(--ink)}svg .t{fill:var(--soft);font-size:11px}svg .b{font-weight:600}svg "
    ".on{fill:var(--on)}\n",
    ".g{stroke:var(--line);stroke-width:1}.ax{stroke:var(--faint);stroke-width:1}\n",
    ".dot-b{fill:var(--paper);stroke:var(--grey);stroke-width:2}.dot-a{fill:var(--blue)}.ci-b{stroke:var(--"
    "grey);stroke-width:2;stroke-opacity:.65}"
    ".ci-a{stroke:var(--blue);stroke-width:2;stroke-opacity:.75}\n",
    ".bar-b{fill:var(--grey);fill-opacity:.45}.bar-a{fill:var(--blue)}.ci-k{stroke:var(--ink);stroke-width:1."
    "5;stroke-opacity:.8}\n",
    ".heat-r{fill:var(--bad)}.heat-b{fill:var(--blue)}.none{fill:var(--wash)}\n",
    ".up{fill:var(--good)!important}.down{fill:var(--bad)!important}\n",
    ".l{fill:none;stroke-width:1.6;stroke-linejoin:round}.l0{stroke:var(--c0)}.l1{stroke:var(--c1)}.l2{"
    "stroke:var(--c2)}.l3{stroke:var(--c3)}\n",
    ".k0{fill:var(--c0)!important}.k1{fill:var(--c1)!important}.k2{fill:var(--c2)!important}.k3{fill:var(--"
    "c3)!important}\n",
    ".box{fill:var(--wash);stroke:var(--line)}.arrow{fill:none;stroke:var(--faint);stroke-width:1.3}.tip{"
    "fill:var(--faint)}\n",
    ".narrow{display:none}\n",
    /* A phone: the narrow drawings, and of a table each row as a block whose cells say what they are. */
    "@media screen and "
    "(max-width:44rem){.wide{display:none}.narrow{display:block;max-width:30rem}dl{grid-template-columns:1fr;"
    "gap:0}dd{margin-bottom:.5rem}"
    ".rows thead{display:none}.rows tr{display:block;padding:.4rem 0;border-bottom:1px solid "
    "var(--line)}.rows tr:last-child{border-bottom:0}"
    ".rows td{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.1rem "
    "0;text-align:right}.rows td:first-child{font-weight:600}"
    ".rows td::before{content:attr(data-is);color:var(--soft);font-weight:400;text-align:left}.rows,.rows "
    "tbody,.rows caption{display:block}table{overflow-wrap:anywhere}}\n",
    "@media "
    "print{:root{--ink:#000;--soft:#444;--faint:#777;--line:#bbb;--paper:#fff;--wash:#f3f3f3;--blue:#1f5fbf;-"
    "-grey:#8a6d3b;"
    "--good:#18794e;--bad:#b42318;--unsure:#8a5a00;--c0:#1f5fbf;--c1:#b4540a;--c2:#18794e;--c3:#8e3ca8;--on:#"
    "fff}"
    "body{font-size:10.5pt}main{max-width:none;padding:0}nav{display:none}.scroll{overflow:visible}}\n",
    NULL,
};
