//! A merchant as a service provider: it makes and asks about orders of its sub-merchants, who get the money. The numbers
//! of orders are the service provider's, so that they lie in the book beside its own.

use std::sync::Arc;

use crate::wechat::Provider;
use crate::wechat::account::Account;
use crate::wechat::api::{Call, Outcome, close, make_order, query_answer, same_merchant};
use crate::wechat::errors::ApiError;
use crate::wechat::requests::{PartnerCloseRequest, PartnerCreateRequest, TradeKind, decode};

/// Answers a call of `/v3/pay/partner/transactions/..`; `path` is what follows that.
pub(super) async fn dispatch(
    provider: &Arc<Provider>,
    account: &Account,
    call: &Call<'_>,
    path: &[&str],
) -> Result<Outcome, ApiError> {
    match (call.method, path) {
        ("POST", ["h5"]) => create(provider, account, call, TradeKind::H5).await,
        ("POST", ["native"]) => create(provider, account, call, TradeKind::Native).await,
        ("POST", ["jsapi"]) => create(provider, account, call, TradeKind::Jsapi).await,
        ("GET", ["out-trade-no", number]) => {
            let sub_mchid = parties(provider, account, call)?;
            let book = provider.book();
            let order = book.orders.get(&(account.mchid().to_owned(), (*number).to_owned()));
            query_answer(provider, order.filter(|order| order.sub_mchid() == Some(sub_mchid)), &book)
        }
        ("GET", ["id", number]) => {
            let sub_mchid = parties(provider, account, call)?;
            let book = provider.book();
            let order = book.order_of_transaction(number).filter(|order| order.request.mchid == account.mchid());
            query_answer(provider, order.filter(|order| order.sub_mchid() == Some(sub_mchid)), &book)
        }
        ("POST", ["out-trade-no", number, "close"]) => {
            call.no_parameters()?;
            let request: PartnerCloseRequest = decode(call.body)?;
            same_merchant(account, &request.sp_mchid)?;
            provider.check_sub_merchant(&request.sub_mchid)?;
            let key = (request.sp_mchid, (*number).to_owned());
            close(provider, &key, Some(&request.sub_mchid))
        }
        _ => Err(ApiError::not_exists("there is no such interface in this sandbox")),
    }
}

async fn create(
    provider: &Arc<Provider>,
    account: &Account,
    call: &Call<'_>,
    kind: TradeKind,
) -> Result<Outcome, ApiError> {
    call.no_parameters()?;
    let request: PartnerCreateRequest = decode(call.body)?;
    let (request, sub) = request.split()?;
    same_merchant(account, &request.mchid)?;
    provider.check_sub_merchant(&sub.mchid)?;
    make_order(provider, account, kind, request, Some(sub)).await
}

/// The sub-merchant of a query, if the query names both parties.
fn parties<'a>(provider: &Provider, account: &Account, call: &'a Call<'_>) -> Result<&'a str, ApiError> {
    call.no_body()?;
    let (sp_mchid, sub_mchid) = match call.query.as_slice() {
        [(one, sp), (two, sub)] if one == "sp_mchid" && two == "sub_mchid" => (sp, sub),
        [(one, sub), (two, sp)] if one == "sub_mchid" && two == "sp_mchid" => (sp, sub),
        _ => return Err(ApiError::param("the query must hold sp_mchid and sub_mchid and nothing else")),
    };
    same_merchant(account, sp_mchid)?;
    provider.check_sub_merchant(sub_mchid)?;
    Ok(sub_mchid)
}
