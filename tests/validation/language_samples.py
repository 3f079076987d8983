"""The same message in many languages."""

# One per line, with the letters of its alphabet.
# ruff: noqa: E501, RUF001

TEXTS = {
    "en": "Thank you for your order. It will be with you in two days, and you can return it if it is not what you want.",
    "de": "Vielen Dank für Ihre Bestellung. Sie wird in zwei Tagen bei Ihnen sein und kann auch zurückgegeben werden.",
    "fr": "Merci pour votre commande. Elle sera chez vous dans deux jours et vous pouvez la renvoyer si elle ne va pas.",
    "es": "Gracias por su pedido. Estará con usted en dos días y puede devolverlo si no es lo que quiere para su casa.",
    "it": "Grazie per il suo ordine. Sarà da lei in due giorni e può restituirlo se non è quello che vuole per la casa.",
    "pt": "Obrigado pela sua encomenda. Ela estará com você em dois dias e não é preciso fazer mais nada para a receber.",
    "nl": "Bedankt voor uw bestelling. Deze is over twee dagen bij u en u kunt het ook terugsturen als het niet goed is.",
    "pl": "Dziękujemy za zamówienie. Będzie u Państwa za dwa dni i można je zwrócić, jeśli nie jest tym, co być powinno.",
    "sv": "Tack för din beställning. Den är hos dig om två dagar och du kan skicka tillbaka den om det inte är rätt.",
    "da": "Tak for din bestilling. Den er hos dig om to dage, og du kan sende den tilbage, hvis det ikke er det rigtige.",
    "fi": "Kiitos tilauksestasi. Se on perillä kahden päivän kuluttua, ja voit myös palauttaa sen, jos se ei ole sopiva.",
    "cs": "Děkujeme za objednávku. Bude u vás za dva dny a je možné ji vrátit, pokud se vám nebude líbit nebo není to, co má být.",
    "tr": "Siparişiniz için teşekkür ederiz. İki gün sonra sizde olacak ve bir sorun var ise geri göndermek de mümkün.",
    "ru": "Спасибо за ваш заказ. Он будет у вас через два дня, и вы можете вернуть его, если он вам не понравится.",
    "uk": "Дякуємо за ваше замовлення. Воно буде у вас за два дні, і ви можете повернути його, якщо воно вам не сподобається.",
    "el": "Ευχαριστούμε για την παραγγελία σας.", "he": "תודה על ההזמנה שלך.", "ar": "شكرا لك على طلبك.",
    "hi": "आपके ऑर्डर के लिए धन्यवाद।", "th": "ขอบคุณสำหรับการสั่งซื้อ", "ja": "ご注文ありがとうございます。二日で届きます。",
    "ko": "주문해 주셔서 감사합니다.", "zh": "感谢您的订购，两天后送达。",
}  # fmt: skip
