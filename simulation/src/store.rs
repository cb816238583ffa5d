//! What the store says, read by plain queries: the checkers' own view, past the backend.

use backend::ids::MachineId;
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend, DbErr, FromQueryResult, Statement};

/// A look at whether anything changed.
#[derive(FromQueryResult)]
pub(crate) struct StoreSnapshot {
    /// Another number whenever others have changed anything.
    pub changes: i64,
    /// When the next work is due.
    pub due_ms: Option<i64>,
    /// Postings of the ledger.
    pub postings: i64,
}

/// A sale, with its attempt, its command and its refund that counts.
#[derive(Debug, Clone, FromQueryResult)]
pub(crate) struct SaleRow {
    pub id: i64,
    pub token: String,
    pub state: String,
    pub reason: String,
    pub amount_minor: i64,
    pub pulses: i64,
    pub pulses_given: i64,
    pub served_and_refunded: bool,
    pub refund_remainder: bool,
    pub out_trade_no: Option<String>,
    pub command_id: Option<i64>,
    pub refunds: i64,
    pub refund_state: String,
    /// What went back, by whomever.
    pub returned_minor: i64,
    /// Booked as refunded elsewhere.
    pub elsewhere_minor: i64,
}

impl SaleRow {
    /// The id of its command, if it has one.
    pub fn command(&self) -> Option<u64> {
        self.command_id.map(i64::unsigned_abs)
    }

    pub fn line(&self) -> String {
        format!("sale {} is {} {} {}", self.token, self.state, self.reason, self.refund_state)
    }
}

/// Postings of a kind and a sale, summed.
#[derive(Debug, Clone, FromQueryResult)]
pub(crate) struct LedgerRow {
    pub kind: String,
    pub sale_id: Option<i64>,
    pub machine_id: Option<MachineId>,
    pub amount_minor: i64,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

const SNAPSHOT_SQL: &str = "SELECT (SELECT data_version FROM pragma_data_version) AS changes,
    COALESCE((SELECT MAX(id) FROM ledger_txns), 0) AS postings, (SELECT MIN(due_ms) FROM (
    SELECT MIN(due_ms) AS due_ms FROM commands
    UNION ALL SELECT MIN(due_ms) FROM payment_attempts
    UNION ALL SELECT MIN(due_ms) FROM statements
    UNION ALL SELECT MIN(due_ms) FROM refunds)) AS due_ms";

const DUE: &str = "SELECT COUNT(*) AS count FROM (
    SELECT due_ms FROM commands WHERE due_ms IS NOT NULL
    UNION ALL SELECT due_ms FROM payment_attempts WHERE due_ms IS NOT NULL
    UNION ALL SELECT due_ms FROM refunds WHERE due_ms IS NOT NULL)";

const SALES: &str = "SELECT s.id, s.token, s.state, s.reason, s.amount_minor, s.pulses, s.pulses_given,
    s.served_and_refunded, o.refund_remainder,
    (SELECT a.out_trade_no FROM payment_attempts a WHERE a.sale_id = s.id) AS out_trade_no,
    (SELECT c.id FROM commands c WHERE c.sale_id = s.id) AS command_id,
    (SELECT COUNT(*) FROM refunds r WHERE r.sale_id = s.id AND r.outside_id = '' AND r.state <> 'cancelled') AS refunds,
    COALESCE((SELECT r.state FROM refunds r WHERE r.sale_id = s.id AND r.outside_id = ''
        AND r.state <> 'cancelled'), '') AS refund_state,
    COALESCE((SELECT SUM(r.amount_minor) FROM refunds r WHERE r.sale_id = s.id AND r.state = 'done'), 0)
        AS returned_minor,
    COALESCE((SELECT SUM(r.amount_minor) FROM refunds r WHERE r.sale_id = s.id AND r.outside_id <> ''
        AND r.state <> 'cancelled'), 0) AS elsewhere_minor
    FROM sales s JOIN operators o ON o.id = s.operator_id ORDER BY s.id";

/// A loss may be lowered by a posting below zero.
const LEDGER: &str = "SELECT t.kind, t.sale_id, t.machine_id, SUM(e.amount_minor) AS amount_minor
    FROM ledger_txns t JOIN ledger_entries e ON e.txn_id = t.id
    WHERE CASE t.kind WHEN 'loss' THEN e.account = 'loss' ELSE e.amount_minor > 0 END
    GROUP BY t.kind, t.sale_id, t.machine_id ORDER BY t.kind, t.sale_id, t.machine_id";

const UNBALANCED_SQL: &str = "SELECT COUNT(*) AS count FROM (
    SELECT txn_id FROM ledger_entries GROUP BY txn_id HAVING SUM(amount_minor) <> 0)";

/// The store, by a connection of its own.
pub(crate) struct Store(DatabaseConnection);

impl Store {
    pub async fn open(url: &str) -> Result<Self, DbErr> {
        let mut options = ConnectOptions::new(url);
        // One: what it says of changes is what it has not seen yet.
        options.max_connections(1).sqlx_logging(false);
        Ok(Self(Database::connect(options).await?))
    }

    async fn all<T: FromQueryResult>(&self, query: &str) -> Result<Vec<T>, DbErr> {
        T::find_by_statement(Statement::from_string(DbBackend::Sqlite, query)).all(&self.0).await
    }

    async fn one<T: FromQueryResult>(&self, query: &str) -> Result<T, DbErr> {
        let row = T::find_by_statement(Statement::from_string(DbBackend::Sqlite, query)).one(&self.0).await?;
        row.ok_or_else(|| DbErr::RecordNotFound(query.to_owned()))
    }

    pub async fn snapshot(&self) -> Result<StoreSnapshot, DbErr> {
        self.one(SNAPSHOT_SQL).await
    }

    /// Rows of work that is due some time.
    pub async fn due(&self) -> Result<i64, DbErr> {
        Ok(self.one::<Count>(DUE).await?.count)
    }

    pub async fn sales(&self) -> Result<Vec<SaleRow>, DbErr> {
        self.all(SALES).await
    }

    pub async fn ledger(&self) -> Result<Vec<LedgerRow>, DbErr> {
        self.all(LEDGER).await
    }

    /// What the ledger says that a merchant account holds. Each sale is paid by one account.
    pub async fn at_provider_minor(&self, account_token: &str) -> Result<i64, DbErr> {
        let sum = format!(
            "SELECT COALESCE(SUM(e.amount_minor), 0) AS count FROM ledger_entries e
                JOIN ledger_txns t ON t.id = e.txn_id JOIN payment_attempts p ON p.sale_id = t.sale_id
                JOIN merchant_accounts m ON m.id = p.account_id
                WHERE e.account = 'provider_clearing' AND m.token = '{account_token}'"
        );
        Ok(self.one::<Count>(&sum).await?.count)
    }

    /// Whether the newest order to lock a module, or to unlock it, came too late: the module was away, or the clock jumped.
    pub async fn lock_expired(&self, module: &str) -> Result<bool, DbErr> {
        let newest = format!(
            "SELECT COALESCE((SELECT state IN ('expired', 'silent') FROM commands
                WHERE module_id = '{module}' AND action = 'lock' ORDER BY sequence DESC LIMIT 1), 0) AS count"
        );
        Ok(self.one::<Count>(&newest).await?.count > 0)
    }

    pub async fn unbalanced_postings(&self) -> Result<i64, DbErr> {
        Ok(self.one::<Count>(UNBALANCED_SQL).await?.count)
    }
}
