// Shows the description with Swagger UI. Keys stay in the page's memory and are gone with it.
"use strict";

// HEAD is answered wherever GET is, which the description's text says; listed, it would only double the page.
const withoutHeads = () => ({
  statePlugins: {
    spec: {
      wrapSelectors: {
        taggedOperations: (tagged) => (...args) =>
          tagged(...args).map((tag) =>
            tag.update("operations", (operations) => operations.filter((one) => one.get("method") !== "head")),
          ),
      },
    },
  },
});

window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: false,
  plugins: [withoutHeads],
  tryItOutEnabled: true,
  validatorUrl: null,
});
