//! The page that tells what every table and column of analytics means.

use carelog_tests::{Api, send};
use reqwest::Method;

/// The comments that the database holds of what analysts read and of what it is made from: table, column and comment.
const COMMENTS: &str = "
    select c.relname::text, coalesce(a.attname, '')::text, d.description
    from pg_description d
    join pg_class c on c.oid = d.objoid and d.classoid = 'pg_class'::regclass and c.relkind = 'r'
    left join pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid and d.objsubid > 0
    where c.relnamespace in ('analytics'::regnamespace, 'published'::regnamespace) and c.relname <> 'progress'
    order by 1, 2";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_tells_the_comment_of_every_table_and_column_and_loads_nothing() {
    let api = Api::start().await;
    let comments: Vec<(String, String, String)> =
        sqlx::query_as(COMMENTS).fetch_all(&api.analytics).await.unwrap();

    let page = send(api.request(Method::GET, "/docs/analytics")).await;

    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(comments.len() > 100, "{}", comments.len());
    for (table, column, comment) in &comments {
        let (definition, class) = comment.rsplit_once(" Class: ").unwrap_or((comment, ""));
        let article = page.text.split(&format!("<article aria-labelledby=\"{table}\">")).nth(1);
        let article =
            article.unwrap_or_else(|| panic!("{table} is missing")).split("</article>").next().unwrap();
        assert!(article.contains(&escaped(definition)), "{table}.{column}: {definition}");
        if !column.is_empty() {
            assert!(article.contains(&format!("<code>{column}</code>")), "{table}.{column}");
            assert!(article.contains(&format!(">{class}</a>")), "{table}.{column}");
            assert!(page.text.contains(&format!("<dt id=\"class-{class}\">")), "{class} is explained");
        }
    }
    assert!(!page.text.contains("id=\"progress\""), "nobody reads that");
    for link in page.text.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(link.starts_with('#') || link.starts_with("/docs"), "{link}");
    }
    assert!(!page.text.contains("<script") && !page.text.contains("src=") && !page.text.contains("url("));
    let reference = send(api.request(Method::GET, "/docs")).await;
    assert!(reference.text.contains("href=\"/docs/analytics\""));
}
