"use strict";
// The page of the API's description. No plugin that asks another host is used.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
}).initOAuth({ clientId: "", scopes: "", useBasicAuthenticationWithAccessCodeGrant: false });
