# English. The same keys as zh.ftl, in the same order.
language-code = en
brand = Coinwire
skip = Skip to content
switch-language = 中文
nav-label = Main
nav-fleet = Fleet
nav-sales = Sales
nav-demo = Demo
nav-connections = Connections
sign-out = Sign out
live-lost = The live connection is lost; what you see may be old. Reconnecting…
try-again = Try again
save = Save
request-id = Request

## Errors
error-back = Back to the machine
error-retry-after = Please wait { $n ->
    [one] one second
   *[other] { $n } seconds
}, then try again.
error-400-title = That request makes no sense
error-400-text = Something in the address or the form is not as it should be. Go back and try again.
error-403-title = This form is no longer valid
error-403-text = It was open for too long, or was sent from another site. Nothing was done. Open the page again and repeat.
error-404-title = There is nothing here
error-404-text = The address is wrong, what it named is gone, or it is not yours to see.
error-405-title = Not this way
error-405-text = This address does not take that kind of request. Open the page again from the start.
error-408-title = That took too long
error-408-text = Your request did not arrive in time. Nothing was done. Please try again.
error-409-title = Somebody was faster
error-409-text = It was changed meanwhile, so nothing was done. Look again and repeat.
error-413-title = That is too long
error-413-text = What was sent is larger than this page takes. Nothing was done.
error-422-title = Something is not right in the form
error-422-text = Nothing was done. Go back, check what you entered, and try again.
error-429-title = Too many requests
error-429-text = There were too many requests from here in a short time. Nothing was done.
error-500-title = Something went wrong on our side
error-500-text = We have a record of it. Please try again; if it stays, tell us the number below.
error-503-title = Not available right now
error-503-text = A part of the service does not answer. Nothing is lost. Please try again in a moment.
error-machine-title = We do not know this machine
error-machine-text = No machine has this code. Scan the code on the machine again, or check that it was typed right.
error-sale-title = We do not know this sale
error-sale-text = No sale has this number. Open the link again as you got it.
error-order-title = No money was taken
error-order-text = The payment provider did not accept the order just now, so nothing was charged. Please try again.

## Scan page
scan-choose = What would you like?
scan-promise = The machine answered just now. If it fails after you paid, your money comes back by itself.
scan-coins = No money was taken. The machine may still accept coins.
scan-code = Machine code
credits = { $n ->
    [one] 1 credit
   *[other] { $n } credits
}
notice-price-changed = The price has changed since you opened this page. Nothing was charged. These are the prices now.
ready-ready = Ready
ready-offline = Offline
ready-offline-text = The machine is not connected right now, so it cannot take a payment.
ready-no_answer = Not answering
ready-no_answer-text = We asked the machine whether it is ready and got no answer, so we take no payment.
ready-fault = Out of order
ready-fault-text = The machine reports a fault and cannot give credit.
ready-locked = Locked
ready-locked-text = The operator has locked this machine for now.
ready-busy = Busy
ready-busy-text = The machine is still working through earlier payments. Please wait a little.
ready-closed = Not on sale
ready-closed-text = This machine does not take phone payments at the moment.

## Sale page
sale-title = Your payment
sale-created = Confirming
sale-created-text = We are asking the payment provider about your order of { $amount }. This takes a few seconds.
sale-awaiting_payment = Waiting for your payment
sale-awaiting_payment-text = If you have paid { $amount } already, stay here: we are confirming it with the provider.
sale-paid = Paid
sale-paid-text = We got your { $amount } and are starting the machine.
sale-crediting = Starting the machine
sale-crediting-text = The machine is being credited for your { $amount }.
sale-credited = All done – enjoy!
sale-credited-text = The machine has confirmed its credit for your { $amount }.
sale-expired = Not paid
sale-expired-text = The order of { $amount } was not paid in time and is closed. If money arrives after all, it goes back by itself.
sale-refund_pending = Your money is on its way back
sale-refund_pending-text = The sale of { $amount } did not end as it should. The refund is under way; you need not do anything.
sale-refunded = Refunded
sale-refunded-text = The payment provider has returned your money. It may take a while to show in your account.
sale-review = We are looking into it
sale-review-text = A person is checking this sale of { $amount }. Your money is safe meanwhile. Keep this page or its number.
sale-pay = Pay { $amount } now
sale-given = { $given } of { $n ->
    [one] 1 credit
   *[other] { $n } credits
} given
sale-served-and-refunded = The machine has served you although your money went back. You owe nothing.
sale-again = Buy again
sale-machine-page = To the machine’s page
step-pay = Payment
step-paid = Paid
step-credit = Machine credited
step-done = Done
step-not-credited = Machine not credited
step-refund = Money returned
step-check = Being checked
mark-done = (done)
mark-now = (now)
mark-failed = (failed)
mark-todo = (to come)
reason-module_failed = The machine reported that it could not give the whole credit.
reason-module_expired = The machine got the credit too late and did not execute it.
reason-module_silent = The machine did not answer in time.
reason-module_forgot = The machine could not say whether it gave the credit.
reason-late = The payment came after the order was closed.
reason-wrong_amount = The amount paid is not the amount asked.
reason-not_paid = No payment arrived in time.
reason-order_refused = The payment provider did not accept the order.
reason-other = Something went wrong on the way.
receipt = Receipt
receipt-machine = Machine
receipt-what = Bought
receipt-price = Price
receipt-paid = Paid
receipt-given = Given
receipt-refund = Returned
receipt-when = Time
receipt-number = Sale

## Sign-in
sign-in = Sign in
sign-in-text = For operators.
sign-in-wrong = E-mail address or password is wrong.
sign-in-again = Please sign in to see that page.
sign-in-button = Sign in
sign-in-demo = This is a demo: its login is on the demo page.
email = E-mail
password = Password

## Fleet
takings = Takings today
takings-total = Today
takings-mobile = By phone
takings-sales = { $n ->
    [one] 1 sale
   *[other] { $n } sales
}
takings-coins = In coins
takings-refunded = Refunded
fleet-machines = Machines
fleet-online = { $online } of { $n } online
fleet-sales-today = Sales today
fleet-mobile-today = By phone
fleet-coins-today = Coin pulses
fleet-seen = Last heard
fleet-never-seen = Never heard yet
fleet-empty = No machines yet. They appear here once a module is bound to one.
fleet-newest-sales = Newest sales
fleet-all-sales = All sales
chip-online = Online
chip-offline = Offline
chip-off-sale = Off sale
chip-locked = Locked
chip-no-module = No module
chip-loss = Loss
fault-coin_line_stuck = Coin line stuck
fault-flash = Memory fault
fault-machine_silent = Machine silent
fault-supply_low = Supply low
fault-bad_signatures = Bad signatures

## Machine
machine-state = State
machine-take-off = Take off sale
machine-put-on = Put on sale
machine-lock = Lock
machine-unlock = Unlock
machine-module = Module
machine-no-module = No module is wired to this machine yet.
module-id = Module
module-seen = Last heard
module-firmware = Firmware
module-signal = Signal
module-supply = Supply
module-boot = Boots
module-coin-pulses = Coin pulses in all
module-credit-pulses = Credit pulses in all
module-settings = Settings version
machine-coins = Coins
machine-coin-value = A coin pulse counts as { $value }.
machine-no-coins = No coins counted yet.
pulse-when = Time
pulse-pulses = Pulses
pulse-total = Total
pulse-width = Width, ms
pulse-gap = Gap, ms
machine-prices = Prices
machine-no-prices = No prices yet, so nothing is on sale.
price-label = Name
price-amount = Amount
price-pulses = Pulses
machine-label = Label
machine-label-text = Print this page: only the label comes out.
machine-scan-page = Scan page
machine-qr-file = Code as a file
label-scan = Scan to pay
done-price = The price is saved.
done-on-sale = The machine is on sale.
done-off-sale = The machine is off sale.
done-locked = The module is being locked.
done-unlocked = The module is being unlocked.
refused-label = The name must have 1 to 40 characters.
refused-amount = The amount must be between 0.01 and 10,000.00, with at most two decimals.
refused-pulses = Pulses must be a whole number from 1 to 200.
refused-meanwhile = It was changed meanwhile, so nothing was done. This is how it is now.
refused-other = That cannot be done. Nothing was changed.

## Sales
sales-state = State
sales-all-states = All states
sales-machine = Machine
sales-all-machines = All machines
sales-filter = Show
sales-empty = No sales yet. They appear here as they happen.
sales-none-match = No sales match.
sale-reason = Reason
sale-out-trade-no = Our number at the provider
sale-provider-txn = Provider’s number
sale-finished = Came to rest
sale-loss = The credit was given although the money went back.
pulses-given = { $given } of { $n ->
    [one] 1 pulse
   *[other] { $n } pulses
}
pager = Pages
pager-newest = Newest
pager-older = Older
state-created = Confirming
state-awaiting_payment = Awaiting payment
state-paid = Paid
state-crediting = Crediting
state-credited = Credited
state-expired = Not paid
state-refund_pending = Refunding
state-refunded = Refunded
state-review = Review

## Connections
connections-search = Machine, client or address
connections-count = { $n ->
    [one] 1 connection
   *[other] { $n } connections
}
connections-hidden = ({ $n } not shown: search for them)
connections-who = Who
connections-client = Client
connections-peer = From
connections-since = Since
connections-heard = Last packet
connections-round-trip = Round trip
connections-end = Disconnect
connections-module = module
connections-integrator = program
connections-member = member
connections-backend = server
connections-none = Nobody is connected.
connections-ended = The connection was ended. A module comes back by itself.
connections-gone = There is no such connection any more.

## Demo
demo-title = Demo
demo-text = Machines with a module each, all virtual and running on this computer. Scan one, pay in the sandbox, and watch. Then stop a module and see that no money is taken for it.
demo-on = Module on
demo-off = Module off
demo-pulses = { $n ->
    [one] pulse
   *[other] pulses
} counted by the machine
demo-scan = Open scan page
demo-coin = Insert coin
demo-stop = Stop module
demo-start = Start module
demo-none = No virtual modules run here.
demo-access = Ways in
demo-operator = Operator
demo-operator-text = Sees the fleet, the coins and the sales live.
demo-integrator = Integrator
demo-integrator-text = Reads the operator’s live topics with any MQTT client:
demo-sandbox = Payment provider’s sandbox:
