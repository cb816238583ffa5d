//! A row of races is one function, and a test for each provider.

/// Makes a test of each function for each provider: `wechat::NAME` and `alipay::NAME`.
macro_rules! with_each_provider {
    ($($row:ident),+ $(,)?) => {
        mod wechat {
            $(
                #[tokio::test]
                async fn $row() {
                    super::$row($crate::support::Provider::Wechat).await;
                }
            )+
        }
        mod alipay {
            $(
                #[tokio::test]
                async fn $row() {
                    super::$row($crate::support::Provider::Alipay).await;
                }
            )+
        }
    };
}
pub(crate) use with_each_provider;
