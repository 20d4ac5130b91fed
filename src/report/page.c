/* page.c - the page: its frame, words, tables, answers (see report.h). */
#include "report/page.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

static const size_t MAX_PAGE = (size_t)64 << 20;

tn_status tn_page_create(tn_page **out, const char *title, const char *subtitle, tn_error *err)
{
    tn_page *p = calloc(1, sizeof *p);

    *out = NULL;
    if (p == NULL || (p->title = tn_strdup(title)) == NULL ||
        (subtitle != NULL && (p->subtitle = tn_strdup(subtitle)) == NULL)) {
        tn_page_destroy(p);
        return tn_fail(err, TN_NOMEM, "no memory for the report '%s'", title);
    }
    p->body.max = p->contents.max = MAX_PAGE;
    *out = p;
    return TN_OK;
}

void tn_page_destroy(tn_page *p)
{
    if (p == NULL) return;
    tn_str_free(&p->body);
    tn_str_free(&p->contents);
    free(p->title);
    free(p->subtitle);
    free(p);
}

tn_status tn_page_take(tn_page *p, char **html, size_t *n, tn_error *err)
{
    tn_str s = { .max = MAX_PAGE };

    *html = NULL;
    while (p->n_details > 0) tn_page_details_end(p);
    if (p->n_section > 0) tn_str_add(&p->body, "</section>\n");
    p->n_section = 0;
    tn_str_add(&s, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                   "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
                   "'unsafe-inline'\">\n"
                   "<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
    report_escape(&s, p->title);
    tn_str_add(&s, "</title>\n<style>\n");
    for (const char *const *line = report_style; *line != NULL; line++) tn_str_add(&s, *line);
    tn_str_add(&s, "</style>\n</head>\n<body>\n<main>\n<header>\n<h1>");
    report_escape(&s, p->title);
    tn_str_add(&s, "</h1>\n");
    if (p->subtitle != NULL) {
        tn_str_add(&s, "<p class=\"sub\">");
        report_escape(&s, p->subtitle);
        tn_str_add(&s, "</p>\n");
    }
    tn_str_add(&s, "</header>\n");
    if (p->contents.len > 0) {
        tn_str_add(&s, "<nav>");
        tn_str_add_n(&s, p->contents.p, p->contents.len);
        tn_str_add(&s, "</nav>\n");
    }
    if (p->body.len > 0) tn_str_add_n(&s, p->body.p, p->body.len);
    tn_str_add(&s, "</main>\n</body>\n</html>\n");
    if (p->nomem || p->body.failed || p->contents.failed || s.failed) {
        tn_str_free(&s);
        return tn_fail(err, TN_LIMIT, "the report '%s' is over %zu MiB, or memory ran out", p->title,
                       MAX_PAGE >> 20);
    }
    *n = s.len;
    if ((*html = tn_str_take(&s)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the report '%s'", p->title);
    return TN_OK;
}

tn_status tn_page_write(tn_page *p, const char *path, tn_error *err)
{
    char     *html;
    size_t    n;
    tn_status status;

    TN_TRY(tn_page_take(p, &html, &n, err));
    status = tn_file_write_all(path, html, n, err);
    free(html);
    return status;
}

/* -------------------------------------------------------------------------------------------------- words */

static void add_element(tn_page *p, const char *open, const char *text, const char *close)
{
    tn_str_add(&p->body, open);
    report_escape(&p->body, text);
    tn_str_add(&p->body, close);
}

void tn_page_section(tn_page *p, const char *title)
{
    while (p->n_details > 0) tn_page_details_end(p);
    if (p->n_section++ > 0) tn_str_add(&p->body, "</section>\n");
    p->n_mark++;
    tn_str_addf(&p->contents, "<a href=\"#s%d\">", p->n_mark);
    report_escape(&p->contents, title);
    tn_str_add(&p->contents, "</a>");
    tn_str_addf(&p->body, "<section id=\"s%d\">\n", p->n_mark);
    add_element(p, "<h2>", title, "</h2>\n");
}

__attribute__((format(printf, 3, 0))) static void add_formatted(tn_page *p, const char *open, const char *fmt,
                                                                va_list ap, const char *close)
{
    tn_str s = { .max = MAX_PAGE };

    tn_str_addv(&s, fmt, ap);
    p->nomem = p->nomem || s.failed;
    add_element(p, open, s.p != NULL ? s.p : "", close);
    tn_str_free(&s);
}

void tn_page_text(tn_page *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add_formatted(p, "<p>", fmt, ap, "</p>\n");
    va_end(ap);
}

void tn_page_note(tn_page *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add_formatted(p, "<p class=\"note\">", fmt, ap, "</p>\n");
    va_end(ap);
}

void tn_page_pre(tn_page *p, const char *text) { add_element(p, "<pre dir=\"auto\">", text, "</pre>\n"); }

void tn_page_details_begin(tn_page *p, const char *summary)
{
    p->n_details++;
    add_element(p, "<details>\n<summary>", summary, "</summary>\n");
}

void tn_page_details_end(tn_page *p)
{
    if (p->n_details == 0) return;
    p->n_details--;
    tn_str_add(&p->body, "</details>\n");
}

void tn_page_figures(tn_page *p, const tn_figure *f, size_t n)
{
    static const char *const tones[] = { "", " good", " bad", " unsure" };

    tn_str_add(&p->body, "<div class=\"figures\">\n");
    for (size_t i = 0; i < n; i++) {
        tn_str_addf(&p->body, "<div class=\"figure%s\">", tones[f[i].tone]);
        add_element(p, "<div class=\"label\">", f[i].label, "</div>");
        add_element(p, "<div class=\"value\">", f[i].value, "</div>");
        if (f[i].detail != NULL) add_element(p, "<div class=\"detail\">", f[i].detail, "</div>");
        tn_str_add(&p->body, "</div>\n");
    }
    tn_str_add(&p->body, "</div>\n");
}

void tn_page_facts(tn_page *p, const tn_fact *f, size_t n)
{
    tn_str_add(&p->body, "<dl>\n");
    for (size_t i = 0; i < n; i++) {
        bool mono = f[i].value != NULL && tn_starts_with(f[i].value, "sha256:");
        add_element(p, "<dt>", f[i].label, "</dt>");
        add_element(p, mono ? "<dd class=\"mono\">" : "<dd>", f[i].value, "</dd>\n");
    }
    tn_str_add(&p->body, "</dl>\n");
}

void tn_page_table(tn_page *p, const tn_table *t)
{
    size_t n_col = strlen(t->columns);
    /* more than a phone is wide for: there each cell says what it is */
    bool rows = t->head != NULL && n_col > 3;

    tn_str_addf(&p->body, "<div class=\"scroll\"><table%s>\n", rows ? " class=\"rows\"" : "");
    if (t->caption != NULL) add_element(p, "<caption>", t->caption, "</caption>\n");
    if (t->head != NULL) {
        tn_str_add(&p->body, "<thead><tr>");
        for (size_t c = 0; c < n_col; c++)
            add_element(p, t->columns[c] == 'r' ? "<th class=\"r\">" : "<th>", t->head[c], "</th>");
        tn_str_add(&p->body, "</tr></thead>\n");
    }
    tn_str_add(&p->body, "<tbody>\n");
    for (size_t r = 0; r < t->n_row; r++) {
        tn_str_add(&p->body, "<tr>");
        for (size_t c = 0; c < n_col; c++) {
            char kind = t->columns[c];
            tn_str_add(&p->body, kind == 'r'   ? "<td class=\"r\""
                                 : kind == 'm' ? "<td class=\"mono\""
                                               : "<td");
            if (rows) {
                tn_str_add(&p->body, " data-is=\"");
                report_escape(&p->body, t->head[c]);
                tn_str_add(&p->body, "\"");
            }
            add_element(p, ">", t->cells[r * n_col + c], "</td>");
        }
        tn_str_add(&p->body, "</tr>\n");
    }
    tn_str_add(&p->body, "</tbody></table></div>\n");
}

/* ------------------------------------------------------------------------------------------------ answers */

static void add_words(tn_page *p, const char *text, bool harmful)
{
    if (harmful)
        tn_str_add(&p->body, "<details class=\"harm\"><summary>May be harmful: click to read</summary>");
    add_element(p, "<div class=\"words\" dir=\"auto\">", text != NULL && text[0] != '\0' ? text : "(nothing)",
                "</div>");
    if (harmful) tn_str_add(&p->body, "</details>");
}

void tn_page_answers(tn_page *p, const char *prompt, bool prompt_harmful, const char *tag, const tn_answer *a,
                     size_t n)
{
    tn_str_add(&p->body, "<article>\n<div class=\"prompt\"><div class=\"who\">Asked");
    if (tag != NULL) add_element(p, " <span class=\"tag\">", tag, "</span>");
    tn_str_add(&p->body, "</div>");
    add_words(p, prompt, prompt_harmful);
    tn_str_add(&p->body, "</div>\n<div class=\"answers\">\n");
    for (size_t i = 0; i < n; i++) {
        add_element(p, "<div class=\"answer\"><div class=\"who\">", a[i].name, "</div>");
        add_words(p, a[i].text, a[i].harmful);
        tn_str_add(&p->body, "</div>\n");
    }
    tn_str_add(&p->body, "</div>\n</article>\n");
}
