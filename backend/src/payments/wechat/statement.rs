//! The daily statement: requested, fetched from the address in the signed answer, checked against its hash, and read by
//! `bill`.

use super::bill;
use super::client::{CallFailure, WechatPay, read, read_limited};
use super::messages::BillAnswer;
use crate::payments::http::not_sent;
use crate::payments::provider::{ProviderError, Statement};
use aws_lc_rs::digest;
use chrono::{Days, NaiveDate};
use reqwest::{Method, StatusCode};
use std::time::Duration;
use url::Url;

/// How long fetching a bill may take.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Largest bill read, in bytes: some 200,000 lines.
const MAX_BILL_BYTES: usize = 64 * 1024 * 1024;
const BILL_PATH: &str = "/v3/bill/tradebill";

impl WechatPay {
    /// Fetches a file whose address and hash came in a verified answer: files are not signed.
    async fn download(&self, address: &str, sha1_hex: &str) -> Result<Vec<u8>, ProviderError> {
        let url = Url::parse(address)
            .ok()
            .filter(|url| self.is_safe_redirect(url))
            .ok_or_else(|| ProviderError::Unknown("download_url is not an https:// address".into()))?;
        let timeout = self.call_timeout.max(DOWNLOAD_TIMEOUT);
        let sent = self.send(Method::GET, url, Vec::new(), timeout).await;
        let mut response = sent.map_err(CallFailure::into_error)?;
        if response.status() != StatusCode::OK {
            let status = response.status().as_u16();
            return Err(ProviderError::Unknown(format!("HTTP status {status} for the file")));
        }
        let body = read_limited(&mut response, MAX_BILL_BYTES).await.map_err(CallFailure::into_error)?;
        let hash = hex::encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &body));
        if !hash.eq_ignore_ascii_case(sha1_hex) {
            return Err(ProviderError::Untrusted("the file's hash is not the one that was told".into()));
        }
        Ok(body)
    }

    /// The trade bill of a day, of all kinds of lines.
    pub(super) async fn bill(&self, day: i64) -> Result<Statement, ProviderError> {
        let date = u64::try_from(day)
            .ok()
            .and_then(|days| NaiveDate::default().checked_add_days(Days::new(days)))
            .ok_or_else(|| not_sent("there is no such day"))?;
        let sub_mchid = self.account.sub_mchid.as_deref();
        let of_whom = sub_mchid.map(|sub_mchid| format!("&sub_mchid={sub_mchid}")).unwrap_or_default();
        let query = format!("bill_date={date}&bill_type=ALL{of_whom}");
        let answer = match self.call(Method::GET, BILL_PATH, Some(&query), Vec::new()).await {
            Ok(answer) => answer,
            Err(failure) => {
                return match failure.refusal() {
                    Some("NO_STATEMENT_EXIST" | "NO_STATEMENT_EXISTS") => Ok(Statement::Nothing),
                    Some("STATEMENT_CREATING") => Ok(Statement::NotYet),
                    _ => Err(failure.into_error()),
                };
            }
        };
        let answer: BillAnswer = read(&answer)?;
        if answer.hash_type != "SHA1" {
            return Err(ProviderError::Unknown("hash_type is not SHA1".into()));
        }
        let body = self.download(&answer.download_url, &answer.hash_value).await?;
        let text = String::from_utf8(body).map_err(|_| ProviderError::Unknown("the bill is not UTF-8".into()))?;
        let bill = bill::read(&text, &self.account.mchid, sub_mchid).map_err(ProviderError::Unknown)?;
        Ok(Statement::Facts { facts: bill.facts, unread: bill.unread })
    }
}
