//! The indexes by which lists are read: no list reads all versions, or sorts what an index has in order.

use super::*;

#[test]
fn a_text_that_only_old_versions_have_is_found_through_the_text_index() {
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
        INSERT INTO models (id, name, version, status, checkpoint_path, description, tags, created_at, updated_at)
        SELECT i, 'big', i, 'staging', '/x', iif(i <= 1500, 'pile', 'other'), '[]',
            printf('2026-01-01T%02d:%02d:%02d.000Z', i / 3600, i / 60 % 60, i % 60), ''
        FROM n";
    let mut file = File::of(10, sql);
    for order in [Order::Ascending, Order::Descending] {
        let q = Some("pile".to_owned());
        let query = ListQuery { q, order, limit: Some(5), ..ListQuery::default() };
        for PlannedStatement { sql, .. } in file.reader.planned(&query).unwrap() {
            assert!(!(sql.contains("FROM models") && sql.contains("ORDER BY")), "{order:?}: {sql}");
        }
        let (ids, page) = file.list(&query);
        assert_eq!((ids, page.total), (expected(&file.stored(), &query)[..5].to_vec(), None));
    }
}

/// Returns every possible list query.
fn every_list(file: &mut File) -> Vec<ListQuery> {
    let text = |text: &str| Some(text.to_owned());
    let mut lists = Vec::new();
    for status in [None, Some(Status::Staging), Some(Status::Production)] {
        for name in [None, text("big"), text("N7-3")] {
            for q in [None, text("pile"), text("b"), text("rare")] {
                for tag in [None, text("all"), text("rare")] {
                    for sort in Sort::ALL {
                        for order in [Order::Ascending, Order::Descending] {
                            let (name, q, tag) = (name.clone(), q.clone(), tag.clone());
                            let limit = Some(5);
                            lists.push(ListQuery {
                                status,
                                name,
                                q,
                                tag,
                                sort,
                                order,
                                limit,
                                ..ListQuery::default()
                            });
                        }
                    }
                }
            }
        }
    }
    let mut behind = Vec::new();
    for list in &lists {
        let after = file.list(list).1.next;
        behind.extend(after.is_some().then(|| ListQuery { after, ..list.clone() }));
        behind.push(ListQuery { offset: 3, ..list.clone() });
    }
    lists.extend(behind);
    lists
}

fn expect_no_scan(PlannedStatement { sql, plan }: &PlannedStatement) {
    for line in plan {
        assert!(!line.contains("TEMP B-TREE"), "{sql} sorts: {plan:?}");
        assert!(!line.starts_with("SCAN models") || line.contains(" USING "), "{sql} reads all: {plan:?}");
        assert!(
            !line.starts_with("SCAN models USING INDEX") || sql.contains("LIMIT") || sql.contains("ORDER BY"),
            "{sql}: {plan:?}"
        );
    }
}

#[test]
fn no_list_reads_all_versions_or_sorts_them_if_an_index_has_the_order_with_statistics_or_without() {
    let mut file = File::new(8);
    file.write(3_200, File::register);
    let index_of = |file: &mut File, query: &ListQuery| -> String {
        file.reader
            .planned(query)
            .unwrap()
            .into_iter()
            .flat_map(|planned| planned.plan)
            .collect::<Vec<_>>()
            .join("\n")
    };
    for analysed in [false, true] {
        if analysed {
            file.other.execute_batch("ANALYZE").unwrap();
            file.reader = SqliteReader::open(&options(file.folder.path().join("registry.db"))).unwrap();
        }
        let lists = every_list(&mut file);
        assert!(lists.len() > 1_500);
        for list in &lists {
            for planned in file.reader.planned(list).unwrap() {
                expect_no_scan(&planned);
            }
        }
        let query = ListQuery::default;
        let text = |text: &str| Some(text.to_owned());
        for (query, index) in [
            (query(), "INDEX idx_models_created"),
            (ListQuery { sort: Sort::UpdatedAt, ..query() }, "INDEX idx_models_status_updated (status=?)"),
            (ListQuery { sort: Sort::TrainingStep, ..query() }, "INDEX idx_models_step"),
            (
                ListQuery { status: Some(Status::Staging), ..query() },
                "INDEX idx_models_status_created (status=?)",
            ),
            (
                ListQuery { status: Some(Status::Staging), sort: Sort::UpdatedAt, ..query() },
                "INDEX idx_models_status_updated (status=?)",
            ),
            (ListQuery { name: text("big"), ..query() }, "INDEX idx_models_name_created (name=?)"),
            (ListQuery { tag: text("all"), ..query() }, "PRIMARY KEY (key=? AND value=? AND version_id<?)"),
            (ListQuery { q: text("pile"), ..query() }, "SCAN model_texts VIRTUAL TABLE INDEX"),
            (ListQuery { offset: 5, ..query() }, "COVERING INDEX idx_models_created"),
        ] {
            let plan = index_of(&mut file, &query);
            assert!(plan.contains(index), "{query:?} by {index}: {plan}");
        }
    }
}
